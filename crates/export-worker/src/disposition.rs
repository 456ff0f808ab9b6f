//! What happens to a job whose attempt failed. The place where the failure happens decides, because
//! only that place knows the cause.

use std::fmt;

use export_core::job::Failure;
use tokio::task::JoinError;

/// What happens to the job after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Retryable error: another attempt may succeed.
    Retry,
    /// A service that the export needs does not work: another attempt may succeed once it does, and
    /// the attempt does not count.
    Postpone(NeededService),
    /// Permanent error: another attempt would fail too.
    Fail,
    /// The worker cannot continue, through no fault of the job: the job is due again at once, and
    /// the attempt does not count.
    HandOver,
    /// A cancel was requested.
    Cancel,
    /// The job's lease is lost, so the worker must not change anything.
    Abandon,
}

/// A service that an export needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeededService {
    /// The object store refuses the result.
    ObjectStore,
    /// The vehicles' database cannot be read.
    Source,
    /// The job store does not answer.
    JobStore,
}

/// A failed attempt.
#[derive(Debug)]
pub struct JobError {
    disposition: Disposition,
    failure: Failure,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl JobError {
    fn new(disposition: Disposition, code: &str, message: impl Into<String>) -> Self {
        let failure = Failure { code: code.to_owned(), message: message.into() };
        Self { disposition, failure, source: None }
    }

    /// A retryable error.
    pub fn retry(code: &str, message: impl Into<String>) -> Self {
        Self::new(Disposition::Retry, code, message)
    }

    /// An error that is not the export's: a service that it needs does not work.
    pub fn outage(of: NeededService) -> Self {
        let (code, message) = match of {
            NeededService::ObjectStore => ("result_storage_unavailable", "the result could not be stored"),
            NeededService::Source => ("source_unavailable", "the vehicles' database could not be read"),
            NeededService::JobStore => ("job_store_unavailable", "the jobs' database did not answer"),
        };
        Self::new(Disposition::Postpone(of), code, message)
    }

    /// A permanent error.
    pub fn fail(code: &str, message: impl Into<String>) -> Self {
        Self::new(Disposition::Fail, code, message)
    }

    /// A task of the export panicked: a defect of this program. Retryable, because another attempt
    /// may not meet it.
    pub fn panicked(panic: JoinError) -> Self {
        Self::retry("internal", "the export engine failed").because(panic)
    }

    /// The worker is stopping.
    pub fn hand_over() -> Self {
        Self::new(Disposition::HandOver, "worker_stopped", "the worker was stopped; another worker continues")
    }

    /// The run slot's lease is lost: continuing would exceed the limit on running exports.
    pub fn slot_lost() -> Self {
        let message = "the worker lost the export's run slot; the export is retried when a slot is free";
        Self::new(Disposition::HandOver, "place_lost", message)
    }

    /// A cancel was requested.
    pub fn cancelled() -> Self {
        Self::new(Disposition::Cancel, "cancelled", "the export was cancelled")
    }

    /// The job's lease is lost.
    pub fn abandon() -> Self {
        Self::new(Disposition::Abandon, "lease_lost", "the worker lost the job's lease")
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What happens to the job.
    pub fn disposition(&self) -> Disposition {
        self.disposition
    }

    /// The error for clients: without driver output and secrets.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }
}

impl fmt::Display for JobError {
    /// The message with all causes, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.failure.message)?;
        let first = self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static));
        for cause in std::iter::successors(first, |error| error.source()) {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_log_gets_the_causes() {
        let error = JobError::retry("source_unavailable", "the source could not be read")
            .because(std::io::Error::other("connection to user:hunter2@db refused"));
        assert_eq!(error.failure().message, "the source could not be read");
        assert_eq!(error.to_string(), "the source could not be read: connection to user:hunter2@db refused");
    }

    #[test]
    fn a_stopped_worker_and_a_lost_slot_do_not_count_as_attempts() {
        for (error, code) in
            [(JobError::hand_over(), "worker_stopped"), (JobError::slot_lost(), "place_lost")]
        {
            assert_eq!((error.disposition(), &*error.failure().code), (Disposition::HandOver, code));
        }
    }
}
