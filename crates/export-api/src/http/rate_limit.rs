//! `RateLimit-Policy` and `RateLimit`: tell callers how much of their rate limit is left.
//!
//! The fields are those of draft-ietf-httpapi-ratelimit-headers, in the form that it has had since
//! its eighth version: structured fields (RFC 9651) with one named policy. Earlier versions had
//! `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`; the draft has dropped them, and
//! services disagree on what they contain.

use std::num::NonZeroU32;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The limit: `q` requests within `w` seconds.
pub(crate) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left: `r` requests, for the next `t` seconds.
pub(crate) const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Time in seconds until a caller that was served has more requests left: rates are whole requests
/// per second.
const NEXT_SECONDS: u16 = 1;

/// The rate limit of callers, as answers describe it.
#[derive(Debug)]
pub(crate) struct RateLimitPolicy(HeaderValue);

impl RateLimitPolicy {
    /// A token bucket that holds `at_once` requests and gets `per_second` more each second. Its
    /// window is the time, rounded up, in which an empty bucket becomes full.
    pub(crate) fn new(per_second: NonZeroU32, at_once: NonZeroU32) -> Self {
        let window_seconds = at_once.get().div_ceil(per_second.get());
        let text = format!("\"requests\";q={at_once};w={window_seconds}");
        Self(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("")))
    }

    /// Sets both fields of an answer to a request, for which a token was `taken` from the caller's
    /// bucket ([`Rate::check`](super::rate::Rate::check)).
    pub(crate) fn describe(&self, headers: &mut HeaderMap, taken: Result<u32, u16>) {
        let (remaining, seconds) = match taken {
            Ok(remaining) => (remaining, NEXT_SECONDS),
            Err(seconds) => (0, seconds),
        };
        headers.insert(POLICY, self.0.clone());
        if let Ok(limit) = HeaderValue::try_from(format!("\"requests\";r={remaining};t={seconds}")) {
            headers.insert(LIMIT, limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_the_time_in_which_the_bucket_becomes_full() {
        for (per_second, at_once, policy) in
            [(100, 200, "q=200;w=2"), (1, 1, "q=1;w=1"), (100, 250, "q=250;w=3"), (100, 50, "q=50;w=1")]
        {
            let [per_second, at_once] =
                [per_second, at_once].map(|number| NonZeroU32::new(number).expect("not zero"));
            let mut headers = HeaderMap::new();
            RateLimitPolicy::new(per_second, at_once).describe(&mut headers, Ok(7));
            assert_eq!(headers[POLICY], format!("\"requests\";{policy}"));
            assert_eq!(headers[LIMIT], "\"requests\";r=7;t=1");
            RateLimitPolicy::new(per_second, at_once).describe(&mut headers, Err(3));
            assert_eq!(headers[LIMIT], "\"requests\";r=0;t=3", "as Retry-After");
        }
    }
}
