//! `Prefer: wait=N` (RFC 7240): delays the answer until the job ends, at most N seconds.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use export_core::access::Principal;
use export_core::job::Job;
use export_store::StoreError;
use tokio::time::{Instant, timeout_at};

use crate::http::limits::Peer;
use crate::state::ApiState;

/// Maximum wait in seconds: below the minute after which most proxies time out.
const MAX_WAIT_SECONDS: u64 = 50;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A wait requested by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    seconds: u64,
}

/// The outcome of a wait.
#[derive(Debug)]
pub(super) struct Waited {
    /// The newest known version of the job.
    pub(super) job: Job,
    /// The error of the last read, if it failed.
    pub(super) error: Option<StoreError>,
    /// The wait; `None` if a limit of concurrent waits is reached and the answer is immediate.
    pub(super) applied: Option<Wait>,
}

impl Wait {
    /// The wait in the `Prefer` headers, capped at the maximum. Ignores other preferences and
    /// invalid values.
    pub(super) fn preferred(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(PREFER).iter().filter_map(|line| line.to_str().ok());
        // RFC 7240: the first of repeated preferences counts.
        let value = lines.flat_map(|line| line.split(',')).find_map(value_of_wait)?;
        let digits = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // A number too large for an integer means the maximum.
        let seconds = digits.parse().unwrap_or(MAX_WAIT_SECONDS).min(MAX_WAIT_SECONDS);
        is_number.then_some(Self { seconds })
    }

    /// Waits until the job has ended, the time is over or the service stops. Holds one permit and
    /// one subscription while waiting.
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
            let is_changed = waited.job.state.is_active()
                && timeout_at(deadline, subscription.changed()).await == Ok(true);
            if !is_changed {
                break;
            }
        }
        waited
    }

    /// Sets `Preference-Applied`, which tells the client the maximum wait.
    pub(super) fn set_header(self, response: &mut Response) {
        let applied = HeaderValue::try_from(format!("wait={}", self.seconds));
        response.headers_mut().extend(applied.map(|applied| (PREFERENCE_APPLIED, applied)));
    }
}

/// The value of `wait=…` without parameters; `None` for another preference.
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
    fn a_long_wait_is_capped() {
        assert_eq!(preferred(&["wait=51"]), Some(50));
        assert_eq!(preferred(&["wait=99999999999999999999999999"]), Some(50));
    }

    #[test]
    fn invalid_preferences_are_ignored() {
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
