//! The meaning of a receiver's answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::StatusCode;

/// Longest wait that a receiver can ask for with one answer.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The outcome of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The receiver has accepted the webhook.
    Delivered,
    /// The attempt failed; a later one may succeed.
    Failed {
        /// Why, without anything secret.
        reason: String,
        /// Shortest wait before the next attempt, as the receiver asked.
        at_least: Duration,
    },
    /// The attempt failed, and retrying cannot help.
    Permanent {
        /// Why, without anything secret.
        reason: String,
    },
}

impl Answer {
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into(), at_least: Duration::ZERO }
    }

    /// The meaning of this status and `Retry-After`. `now` is for a `Retry-After` that is a date.
    pub(crate) fn of(status: StatusCode, retry_after: Option<&str>, now: DateTime<Utc>) -> Self {
        let reason = format!("the receiver answered {}", status.as_u16());
        match status {
            _ if status.is_success() => Self::Delivered,
            StatusCode::GONE => Self::Permanent { reason },
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let at_least = retry_after.and_then(|text| wait(text.trim(), now)).unwrap_or_default();
                Self::Failed { reason, at_least: at_least.min(MAX_RETRY_AFTER) }
            }
            _ if status.is_redirection() => Self::failed(format!("{reason}; redirects are not followed")),
            _ => Self::failed(reason),
        }
    }
}

/// The wait of a `Retry-After`: seconds or a date.
fn wait(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?;
    until.with_timezone(&Utc).signed_duration_since(now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_2xx_is_success_and_only_410_is_permanent() {
        let of =
            |status: u16| Answer::of(StatusCode::from_u16(status).expect("a status"), Some("7"), Utc::now());
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(of(status), Answer::Delivered, "{status}");
        }
        assert!(matches!(of(410), Answer::Permanent { .. }));
        for status in [301, 302, 304, 307, 400, 401, 404, 500, 502, 504] {
            assert!(matches!(of(status), Answer::Failed { at_least: Duration::ZERO, .. }), "{status}");
        }
        for status in [429, 503] {
            let answer = of(status);
            assert!(
                matches!(answer, Answer::Failed { at_least, .. } if at_least.as_secs() == 7),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn a_wait_is_bounded_and_an_invalid_one_is_zero() {
        let now = DateTime::from_timestamp(1_543_536_000, 0).expect("a time");
        let at_least = |text: &str| match Answer::of(StatusCode::TOO_MANY_REQUESTS, Some(text), now) {
            Answer::Failed { at_least, .. } => at_least.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(at_least("120"), 120);
        assert_eq!(at_least("Fri, 30 Nov 2018 00:01:00 GMT"), 60);
        assert_eq!(at_least("Fri, 30 Nov 2018 23:00:00 GMT"), 3_600);
        for (text, expected) in
            [("999999999", 3_600), ("Fri, 30 Nov 2001 00:00:00 GMT", 0), ("-1", 0), ("soon", 0), ("", 0)]
        {
            assert_eq!(at_least(text), expected, "{text}");
        }
    }
}
