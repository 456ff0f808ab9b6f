//! `Prefer: wait=N` (RFC 7240): an answer that comes when the job ends, or after N seconds.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use export_core::access::Principal;
use export_core::job::Job;
use export_store::StoreError;
use tokio::time::{Instant, timeout_at};

use crate::http::limits::Peer;
use crate::state::ApiState;

/// Longest wait, in seconds: below the minute after which most proxies give up on an answer.
const LONGEST_WAIT_SECONDS: u64 = 50;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A wait that a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    seconds: u64,
}

/// What a wait came to.
#[derive(Debug)]
pub(super) struct Waited {
    /// The newest that is known of the job.
    pub(super) job: Job,
    /// Why the last look told nothing, if it did not.
    pub(super) error: Option<StoreError>,
    /// The wait, unless the caller, or all together, wait for too much already: then the answer comes at once.
    pub(super) applied: Option<Wait>,
}

impl Wait {
    /// The wait that the client prefers; a longer one than this service's longest is cut. Whatever else is preferred, or cannot
    /// be read, is as if it was not there.
    pub(super) fn preferred(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(PREFER).iter().filter_map(|line| line.to_str().ok());
        // Of a preference that is there more than once, the first counts.
        let value = lines.flat_map(|line| line.split(',')).find_map(value_of_wait)?;
        let digits = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than a number has are a long wait.
        let seconds = digits.parse().unwrap_or(LONGEST_WAIT_SECONDS).min(LONGEST_WAIT_SECONDS);
        is_number.then_some(Self { seconds })
    }

    /// Waits until the job has ended, the time is over or the service stops. Holds nothing meanwhile but its places
    /// among the waits and in the hub.
    pub(super) async fn until_ended(
        self,
        state: &ApiState,
        principal: &Principal,
        peer: Peer,
        job: Job,
    ) -> Waited {
        let mut waited = Waited { job, error: None, applied: Some(self) };
        if !waited.job.state.is_active() {
            return waited;
        }
        let Some(_permit) = state.limits.wait_permit(principal, peer) else {
            return Waited { applied: None, ..waited };
        };
        let Some(mut subscription) = state.changes.subscribe(waited.job.id) else {
            return Waited { applied: None, ..waited };
        };
        let deadline = Instant::now() + Duration::from_secs(self.seconds);
        while let Ok(found) = timeout_at(deadline, state.jobs.get(waited.job.id)).await {
            match found {
                Ok(newest) => {
                    waited.job = newest.unwrap_or(waited.job);
                    waited.error = None;
                }
                Err(error) => waited.error = Some(error),
            }
            let is_told = waited.job.state.is_active()
                && timeout_at(deadline, subscription.changed()).await == Ok(true);
            if !is_told {
                break;
            }
        }
        waited
    }

    /// Tells the client how long the wait was at most.
    pub(super) fn tell(self, response: &mut Response) {
        let applied = HeaderValue::try_from(format!("wait={}", self.seconds));
        response.headers_mut().extend(applied.map(|applied| (PREFERENCE_APPLIED, applied)));
    }
}

/// The value of `wait=…`, with whatever its parameters say left out; `None` where this is another preference.
fn value_of_wait(preference: &str) -> Option<&str> {
    let (name, value) = preference.split(';').next()?.split_once('=')?;
    name.trim().eq_ignore_ascii_case("wait").then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred(lines: &[&'static str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, HeaderValue::from_static(line));
        }
        Wait::preferred(&headers).map(|wait| wait.seconds)
    }

    #[test]
    fn a_wait_is_found_among_other_preferences() {
        assert_eq!(preferred(&["wait=5"]), Some(5));
        assert_eq!(preferred(&["WAIT = 5"]), Some(5));
        assert_eq!(preferred(&["wait=\"5\""]), Some(5));
        assert_eq!(preferred(&["respond-async, wait=5; a=b"]), Some(5));
        assert_eq!(preferred(&["respond-async", "return=minimal, wait=0"]), Some(0));
        assert_eq!(preferred(&["wait=7, wait=9"]), Some(7), "the first");
    }

    #[test]
    fn a_long_wait_is_cut() {
        assert_eq!(preferred(&["wait=51"]), Some(50));
        assert_eq!(preferred(&["wait=99999999999999999999999999"]), Some(50));
    }

    #[test]
    fn what_cannot_be_read_is_not_there() {
        for line in [
            "",
            "wait",
            "wait=",
            "wait=-1",
            "wait=1.5",
            "wait=soon",
            "wait=\"5",
            "await=5",
            "x=wait=5",
            ";wait=5",
        ] {
            assert_eq!(preferred(&[line]), None, "{line}");
        }
        assert_eq!(preferred(&[]), None);
    }
}
