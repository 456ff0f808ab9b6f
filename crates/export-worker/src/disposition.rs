//! What becomes of a job whose export failed. Decided where the failure happens, because only there it is known.

use std::fmt;

use export_core::job::Failure;

/// Retry or give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Another attempt may fare better.
    Retry,
    /// Another attempt would end the same way.
    Fail,
    /// The worker cannot go on with it, through no fault of the job: it is to start again at once, elsewhere if the worker is going.
    HandOver,
    /// The job's owner wants it to end.
    Cancel,
    /// The job is no longer this worker's; nothing may be touched.
    Abandon,
}

/// An export that failed.
#[derive(Debug)]
pub struct JobError {
    /// What becomes of the job.
    pub disposition: Disposition,
    /// What clients are told: no driver output, no secrets.
    pub failure: Failure,
    /// What the log is told.
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl JobError {
    fn new(disposition: Disposition, code: &str, message: impl Into<String>) -> Self {
        let failure = Failure { code: code.to_owned(), message: message.into() };
        Self { disposition, failure, source: None }
    }

    /// Worth another attempt.
    pub fn retry(code: &str, message: impl Into<String>) -> Self {
        Self::new(Disposition::Retry, code, message)
    }

    /// Not worth another attempt.
    pub fn fail(code: &str, message: impl Into<String>) -> Self {
        Self::new(Disposition::Fail, code, message)
    }

    /// The worker is stopping.
    pub fn hand_over() -> Self {
        Self::new(Disposition::HandOver, "worker_stopped", "the worker was stopped; another one goes on")
    }

    /// Its place among the running exports is another's by now: there would be more of them than there may be.
    pub fn place_lost() -> Self {
        let message = "the export's place was given to another one; it goes on when there is room";
        Self::new(Disposition::HandOver, "place_lost", message)
    }

    /// The job is to end.
    pub fn cancelled() -> Self {
        Self::new(Disposition::Cancel, "cancelled", "the export was cancelled")
    }

    /// The lease is lost.
    pub fn abandon() -> Self {
        Self::new(Disposition::Abandon, "lease_lost", "the job's lease is no longer this worker's")
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for JobError {
    /// The message with all causes: for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.failure.message)?;
        let first = self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static));
        for cause in std::iter::successors(first, |error| error.source()) {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}
