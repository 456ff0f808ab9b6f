//! Bounds the requests without a valid key, per address.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::config::LimitSettings;
use crate::http::client_address::{Peer, network};
use crate::http::problem::{Problem, Reason};
use crate::http::rate::Rate;

/// Requests per second from one address that are answered with 401, after the initial burst.
const FAILURES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN;

/// Counts the requests without a valid key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Failures(Arc<Rate>);

impl Failures {
    /// The burst of the settings.
    pub fn new(settings: &LimitSettings) -> Self {
        Self(Arc::new(Rate::new(FAILURES_PER_SECOND, settings.auth_failures_at_once)))
    }

    /// Counts one request from this address. Fails with 429 beyond the rate.
    pub(crate) fn count(&self, peer: Peer) -> Result<(), Problem> {
        self.0.check(&network(peer.address())).map(drop).map_err(|seconds| {
            let detail = "Too many requests from your address had no valid key.";
            Problem::too_many_requests(detail, seconds).because(Reason::FailuresOfAddress)
        })
    }
}

#[cfg(test)]
mod tests {
    use export_settings::defaults;

    use super::*;

    #[test]
    fn failures_are_rate_limited_by_address() {
        let two = NonZeroU32::new(2).expect("not zero");
        let failures = Failures::new(&LimitSettings { auth_failures_at_once: two, ..defaults() });
        let fail = |address: &str| failures.count(Peer::new(address.parse().expect("an address")));
        for _ in 0..2 {
            assert_eq!(fail("192.0.2.1"), Ok(()));
        }
        let problem = fail("192.0.2.1").expect_err("two are the burst");
        assert_eq!((problem.status().as_u16(), problem.retry_after_seconds()), (429, Some(1)));
        assert_eq!(fail("192.0.2.2"), Ok(()));
    }
}
