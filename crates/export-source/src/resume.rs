//! When a read is retried after a failure, and when it is not.

use std::time::{Duration, Instant};

use export_mongo::StoreError;
use export_mongo::server_errors::{OUT_OF_TIME, RESUMABLE, code_of, driver_error};
use mongodb::error::ErrorKind;

/// Failed attempts without a document in between after which reading fails.
const MAX_ATTEMPTS: u32 = 5;
/// Time without a document after which there is no further retry. Shorter than a job's lease, which
/// would be lost anyway.
const MAX_STALL: Duration = Duration::from_secs(15);
/// Upper bound of the first delay; it doubles with each retry.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Upper bound of any delay.
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// Whether the read timed out, at the server or at the client.
pub(crate) fn is_out_of_time(error: &StoreError) -> bool {
    matches!(error, StoreError::TimedOut { .. })
        || code_of(error).is_some_and(|code| OUT_OF_TIME.contains(&code))
}

/// Whether a new read may succeed where this one failed.
pub(crate) fn is_resumable(error: &StoreError) -> bool {
    let Some(error) = driver_error(error) else { return false };
    match error.kind.as_ref() {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. } => {
            true
        }
        ErrorKind::Command(command) => RESUMABLE.contains(&command.code),
        _ => false,
    }
}

/// The retries that a collection has left since its last document.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    failed: u32,
    progressed_at: Instant,
}

impl RetryBudget {
    pub(crate) fn new() -> Self {
        Self { failed: 0, progressed_at: Instant::now() }
    }

    /// A document arrived: the budget is full again.
    pub(crate) fn progressed(&mut self) {
        *self = Self::new();
    }

    /// Does not count this time, which was spent waiting for the throttle and not for the server.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.progressed_at += time;
    }

    /// Failed attempts since the last document.
    pub(crate) fn failed(&self) -> u32 {
        self.failed
    }

    /// The delay before the next retry, or `None` when the budget is used up. Full jitter: `random`
    /// in `[0, 1)` picks a point below a bound that doubles, so that readers which failed together
    /// do not retry together.
    pub(crate) fn delay_after_failure(&mut self, random: f64) -> Option<Duration> {
        self.failed += 1;
        if self.failed >= MAX_ATTEMPTS || self.progressed_at.elapsed() > MAX_STALL {
            return None;
        }
        let bound = FIRST_DELAY.saturating_mul(1 << (self.failed - 1)).min(LONGEST_DELAY);
        Some(bound.mul_f64(random.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use bson::doc;
    use mongodb::error::{CommandError, Error};

    /// The error of an operation that the server refuses with this code.
    pub(crate) fn command_failed(code: i32) -> StoreError {
        let reply = doc! { "code": code, "codeName": "test", "errmsg": "test" };
        let command: CommandError = bson::deserialize_from_document(reply).expect("an error");
        let error: Error = ErrorKind::Command(command).into();
        StoreError::of_driver("read hour documents", error)
    }

    #[test]
    fn a_timeout_of_the_server_is_retried() {
        for code in [50, 262] {
            assert!(is_out_of_time(&command_failed(code)) && is_resumable(&command_failed(code)), "{code}");
        }
        let timed_out = StoreError::TimedOut { operation: "read hour documents", seconds: 30 };
        assert!(is_out_of_time(&timed_out) && !is_resumable(&timed_out));
        assert!(!is_out_of_time(&command_failed(189)) && is_resumable(&command_failed(189)));
        assert!(!is_resumable(&command_failed(175)), "the collection was dropped");
    }

    #[test]
    fn a_document_refills_the_budget() {
        let mut budget = RetryBudget::new();
        let delays: Vec<_> = (0..5).map(|_| budget.delay_after_failure(1.0)).collect();
        let expected = [100, 200, 400, 800].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(delays[..4], expected);
        assert_eq!(delays[4], None);
        budget.progressed();
        assert_eq!(budget.delay_after_failure(0.5), Some(Duration::from_millis(50)));
    }

    #[test]
    fn a_long_stall_ends_the_retries() {
        let progressed_at =
            Instant::now().checked_sub(MAX_STALL * 2).expect("a clock that began before the test");
        assert_eq!(RetryBudget { failed: 0, progressed_at }.delay_after_failure(0.5), None);
    }

    #[test]
    fn only_failures_that_a_new_read_can_avoid_are_retried() {
        let driver = |error: Error| StoreError::of_driver("read hour documents", error);
        let reset: std::io::Error = std::io::ErrorKind::ConnectionReset.into();
        assert!(is_resumable(&driver(reset.into())));
        assert!(!is_resumable(&driver(Error::custom("no"))));
        assert!(!is_resumable(&StoreError::TimedOut { operation: "read hour documents", seconds: 30 }));
        assert!(!is_resumable(&StoreError::ReaderLost));
    }
}
