//! How much of the service one client, and all of them together, may have.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use export_settings::{SettingError, parsed_or};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitArgs {
    /// How long the head of a request may take to arrive, and a connection wait for its next one [default: 10]
    #[arg(long, env = "HEADER_READ_SECONDS", value_name = "SECONDS")]
    header_read_seconds: Option<String>,
    /// How long the body of a request may take to arrive [default: 10]
    #[arg(long, env = "BODY_READ_SECONDS", value_name = "SECONDS")]
    body_read_seconds: Option<String>,
    /// How long a client may take nothing of its answer before its connection is cut [default: 60]
    #[arg(long, env = "WRITE_STALL_SECONDS", value_name = "SECONDS")]
    write_stall_seconds: Option<String>,
    /// Open connections; more are turned away [default: 8192]
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "COUNT")]
    max_connections: Option<String>,
    /// Requests being answered at a time, of all callers; more get 503 [default: 1024]
    #[arg(long, env = "MAX_REQUESTS", value_name = "COUNT")]
    max_requests: Option<String>,
    /// The same of one caller; more get 429 [default: 64]
    #[arg(long, env = "MAX_REQUESTS_PER_CALLER", value_name = "COUNT")]
    max_requests_per_caller: Option<String>,
    /// Event streams of one caller at a time; more get 429 [default: 16]
    #[arg(long, env = "MAX_STREAMS_PER_CALLER", value_name = "COUNT")]
    max_streams_per_caller: Option<String>,
    /// Requests of one caller per second, on average; more get 429 [default: 100]
    #[arg(long, env = "REQUESTS_PER_SECOND", value_name = "COUNT")]
    requests_per_second: Option<String>,
    /// Requests of one caller that may come at once, after a rest [default: 200]
    #[arg(long, env = "REQUESTS_AT_ONCE", value_name = "COUNT")]
    requests_at_once: Option<String>,
    /// Requests without a valid key from one address that are told so at once; then one per second, and more get 429 [default: 100]
    #[arg(long, env = "AUTH_FAILURES_AT_ONCE", value_name = "COUNT")]
    auth_failures_at_once: Option<String>,
}

/// How much of the service one client, and all of them together, may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// How long the head of a request may take to arrive, and an HTTP/1 connection wait for its next one.
    pub header_read: Duration,
    /// How long the body of a request may take to arrive.
    pub body_read: Duration,
    /// How long a client may take nothing of its answer.
    pub write_stall: Duration,
    /// Open connections.
    pub max_connections: NonZeroU32,
    /// Requests being answered at a time.
    pub max_requests: NonZeroU32,
    /// Requests of one caller being answered at a time.
    pub max_requests_per_caller: NonZeroU32,
    /// Event streams of one caller at a time.
    pub max_streams_per_caller: NonZeroU32,
    /// Requests of one caller per second, on average.
    pub requests_per_second: NonZeroU32,
    /// Requests of one caller that may come at once.
    pub requests_at_once: NonZeroU32,
    /// Requests without a valid key from one address that are told so at once.
    pub auth_failures_at_once: NonZeroU32,
}

const fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

impl LimitSettings {
    /// What holds unless set otherwise: generous for people and their scripts, and less than two cores can serve.
    pub const DEFAULT: Self = Self {
        header_read: Duration::from_secs(10),
        body_read: Duration::from_secs(10),
        write_stall: Duration::from_mins(1),
        max_connections: count(8192),
        max_requests: count(1024),
        max_requests_per_caller: count(64),
        max_streams_per_caller: count(16),
        requests_per_second: count(100),
        requests_at_once: count(200),
        auth_failures_at_once: count(100),
    };
}

impl LimitArgs {
    pub(super) fn resolve(&self) -> Result<LimitSettings, SettingError> {
        let default = LimitSettings::DEFAULT;
        let streams = self.max_streams_per_caller.as_ref();
        Ok(LimitSettings {
            header_read: seconds(
                "HEADER_READ_SECONDS",
                self.header_read_seconds.as_ref(),
                default.header_read,
            )?,
            body_read: seconds("BODY_READ_SECONDS", self.body_read_seconds.as_ref(), default.body_read)?,
            write_stall: seconds(
                "WRITE_STALL_SECONDS",
                self.write_stall_seconds.as_ref(),
                default.write_stall,
            )?,
            max_connections: number(
                "MAX_CONNECTIONS",
                self.max_connections.as_ref(),
                default.max_connections,
            )?,
            max_requests: number("MAX_REQUESTS", self.max_requests.as_ref(), default.max_requests)?,
            max_requests_per_caller: number(
                "MAX_REQUESTS_PER_CALLER",
                self.max_requests_per_caller.as_ref(),
                default.max_requests_per_caller,
            )?,
            max_streams_per_caller: number(
                "MAX_STREAMS_PER_CALLER",
                streams,
                default.max_streams_per_caller,
            )?,
            requests_per_second: number(
                "REQUESTS_PER_SECOND",
                self.requests_per_second.as_ref(),
                default.requests_per_second,
            )?,
            requests_at_once: number(
                "REQUESTS_AT_ONCE",
                self.requests_at_once.as_ref(),
                default.requests_at_once,
            )?,
            auth_failures_at_once: number(
                "AUTH_FAILURES_AT_ONCE",
                self.auth_failures_at_once.as_ref(),
                default.auth_failures_at_once,
            )?,
        })
    }
}

/// A time that a slow line needs and a slow attacker may have.
fn seconds(name: &'static str, value: Option<&String>, default: Duration) -> Result<Duration, SettingError> {
    const EXPECTED: &str = "a number of seconds from 1 to 3600";
    bounded(name, value, default.as_secs(), 1..=3_600, EXPECTED).map(Duration::from_secs)
}

/// A count. Its upper end is beyond what one machine serves; it keeps a slip of the pen from overflowing anything.
fn number(
    name: &'static str,
    value: Option<&String>,
    default: NonZeroU32,
) -> Result<NonZeroU32, SettingError> {
    bounded(name, value, default, count(1)..=count(1_000_000), "a number from 1 to 1000000")
}

fn bounded<T: FromStr + PartialOrd>(
    name: &'static str,
    value: Option<&String>,
    default: T,
    allowed: std::ops::RangeInclusive<T>,
    expected: &'static str,
) -> Result<T, SettingError> {
    let given = parsed_or(name, value, default, expected)?;
    if allowed.contains(&given) { Ok(given) } else { Err(SettingError::Wrong { name, expected }) }
}
