//! When the reading of a collection goes on after a failure, and when it does not.

use std::time::{Duration, Instant};

use export_mongo::StoreError;
use mongodb::error::{Error, ErrorKind};

/// Tries without a single document in between.
const MAX_TRIES: u32 = 5;
/// Time without a document after which no further try begins. Below a lease, which is lost anyway when nothing moves.
const PATIENCE: Duration = Duration::from_secs(15);
/// Upper bound of the first wait; it doubles with each try.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Upper bound of any wait.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What the server says when a cursor is gone or its node is: another try finds another cursor on another node. A
/// collection that was dropped (175) is not among them: it would read as one that has ended.
const RESUMABLE_CODES: [i32; 18] = [
    6,      // HostUnreachable
    7,      // HostNotFound
    43,     // CursorNotFound: it waited too long, or somebody killed it
    50,     // MaxTimeMSExpired: the source was too slow, which may pass; patience decides
    89,     // NetworkTimeout
    91,     // ShutdownInProgress
    134,    // ReadConcernMajorityNotAvailableYet
    189,    // PrimarySteppedDown
    237,    // CursorKilled
    262,    // ExceededTimeLimit
    9_001,  // SocketException
    10_058, // NotWritablePrimary, of old servers
    10_107, // NotWritablePrimary
    11_600, // InterruptedAtShutdown
    11_601, // Interrupted: the operation or its session was killed
    11_602, // InterruptedDueToReplStateChange
    13_435, // NotPrimaryNoSecondaryOk
    13_436, // NotPrimaryOrSecondary
];

/// What the server says when it has given up an operation for want of time.
const OUT_OF_TIME_CODES: [i32; 2] = [
    50,  // MaxTimeMSExpired
    262, // ExceededTimeLimit
];

/// What the server has said, if it has.
pub(crate) fn code_of(error: &StoreError) -> Option<i32> {
    let StoreError::Driver { source, .. } = error else { return None };
    match source.downcast_ref::<Error>()?.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// Whether there was no answer for want of time, whoever gave up first.
pub(crate) fn is_out_of_time(error: &StoreError) -> bool {
    matches!(error, StoreError::TimedOut { .. })
        || code_of(error).is_some_and(|code| OUT_OF_TIME_CODES.contains(&code))
}

/// Whether another cursor may well succeed where this one failed.
pub(crate) fn is_resumable(error: &StoreError) -> bool {
    let StoreError::Driver { source, .. } = error else { return false };
    let Some(error) = source.downcast_ref::<Error>() else { return false };
    match error.kind.as_ref() {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. } => {
            true
        }
        ErrorKind::Command(command) => RESUMABLE_CODES.contains(&command.code),
        _ => false,
    }
}

/// Counts the tries since the last document.
#[derive(Debug)]
pub(crate) struct Tries {
    failed: u32,
    progressed_at: Instant,
}

impl Tries {
    pub(crate) fn new() -> Self {
        Self { failed: 0, progressed_at: Instant::now() }
    }

    /// A document came.
    pub(crate) fn progressed(&mut self) {
        *self = Self::new();
    }

    /// So long nothing was tried: who waits for his turn has not failed.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.progressed_at += time;
    }

    /// Tries that failed since the last document.
    pub(crate) fn failed(&self) -> u32 {
        self.failed
    }

    /// The wait before the next try, or `None` when there is to be none. Full jitter: `random` in `[0, 1)` picks a
    /// point below a bound that doubles, so that readers which failed together do not come back together.
    pub(crate) fn wait_after_failure(&mut self, random: f64) -> Option<Duration> {
        self.failed += 1;
        if self.failed >= MAX_TRIES || self.progressed_at.elapsed() > PATIENCE {
            return None;
        }
        let bound = FIRST_WAIT.saturating_mul(1 << (self.failed - 1)).min(LONGEST_WAIT);
        Some(bound.mul_f64(random.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use bson::doc;
    use mongodb::error::CommandError;

    /// What an operation comes to that the server refuses with this code.
    pub(crate) fn command_failed(code: i32) -> StoreError {
        let said = doc! { "code": code, "codeName": "test", "errmsg": "test" };
        let said: CommandError = bson::deserialize_from_document(said).expect("an error");
        let error: Error = ErrorKind::Command(said).into();
        StoreError::Driver { operation: "read hour documents", source: Box::new(error) }
    }

    #[test]
    fn a_server_that_gives_up_is_out_of_time_and_tried_again() {
        for code in [50, 262] {
            assert!(is_out_of_time(&command_failed(code)) && is_resumable(&command_failed(code)), "{code}");
        }
        let timed_out = StoreError::TimedOut { operation: "read hour documents", seconds: 30 };
        assert!(is_out_of_time(&timed_out) && !is_resumable(&timed_out));
        assert!(!is_out_of_time(&command_failed(189)) && is_resumable(&command_failed(189)));
        assert!(!is_resumable(&command_failed(175)), "a collection that was dropped");
    }

    #[test]
    fn tries_end_and_begin_anew_with_a_document() {
        let mut tries = Tries::new();
        let waits: Vec<_> = (0..5).map(|_| tries.wait_after_failure(1.0)).collect();
        let expected = [100, 200, 400, 800].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(waits[..4], expected);
        assert_eq!(waits[4], None);
        tries.progressed();
        assert_eq!(tries.wait_after_failure(0.5), Some(Duration::from_millis(50)));
    }

    #[test]
    fn patience_ends() {
        let progressed_at =
            Instant::now().checked_sub(PATIENCE * 2).expect("a clock that began before the test");
        assert_eq!(Tries { failed: 0, progressed_at }.wait_after_failure(0.5), None);
    }

    #[test]
    fn only_what_another_cursor_can_mend_is_tried_again() {
        let driver =
            |error: Error| StoreError::Driver { operation: "read hour documents", source: Box::new(error) };
        let reset: std::io::Error = std::io::ErrorKind::ConnectionReset.into();
        assert!(is_resumable(&driver(reset.into())));
        assert!(!is_resumable(&driver(Error::custom("no"))));
        assert!(!is_resumable(&StoreError::TimedOut { operation: "read hour documents", seconds: 30 }));
        assert!(!is_resumable(&StoreError::ReaderLost));
    }
}
