//! How much of the API one client, and all clients together, may use.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::command::defaults;
use crate::parser::{number, seconds};

/// More than one machine serves; the bound only keeps a typing error from overflowing anything.
const MAX: u64 = 1_000_000;
/// Longest time that may be given to a slow line, in seconds.
const MAX_SECONDS: u64 = 3_600;

/// How much of the API one client, and all clients together, may use.
///
/// The defaults are generous for people and their scripts, and less than two cores can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// Longest time for the head of a request to arrive, and for a kept connection to wait for its
    /// next request
    #[arg(
        long = "header-read-seconds",
        env = "HEADER_READ_SECONDS",
        value_name = "SECONDS",
        default_value = "10",
        value_parser = seconds(1..=MAX_SECONDS)
    )]
    pub header_read: Duration,
    /// Longest time for the body of a request to arrive
    #[arg(
        long = "body-read-seconds",
        env = "BODY_READ_SECONDS",
        value_name = "SECONDS",
        default_value = "10",
        value_parser = seconds(1..=MAX_SECONDS)
    )]
    pub body_read: Duration,
    /// Longest time for which a client may read nothing of its answer; then its connection is
    /// closed
    #[arg(
        long = "write-stall-seconds",
        env = "WRITE_STALL_SECONDS",
        value_name = "SECONDS",
        default_value = "60",
        value_parser = seconds(1..=MAX_SECONDS)
    )]
    pub write_stall: Duration,
    /// Most open connections, each of which needs a file descriptor; more are closed at once
    #[arg(
        long,
        env = "MAX_CONNECTIONS",
        value_name = "COUNT",
        default_value = "8192",
        value_parser = number::<NonZeroU32>(1..=MAX)
    )]
    pub max_connections: NonZeroU32,
    /// Most requests of all callers being answered at a time; more are answered with 503
    #[arg(
        long,
        env = "MAX_REQUESTS",
        value_name = "COUNT",
        default_value = "1024",
        value_parser = number::<NonZeroU32>(1..=MAX)
    )]
    pub max_requests: NonZeroU32,
    /// Most requests of one caller being answered at a time; more are answered with 429. A caller
    /// is a key, a token's subject, or with `AUTH=none` an address
    #[arg(
        long,
        env = "MAX_REQUESTS_PER_CALLER",
        value_name = "COUNT",
        default_value = "64",
        value_parser = number::<NonZeroU32>(1..=MAX)
    )]
    pub max_requests_per_caller: NonZeroU32,
    /// Most event streams of one caller at a time; more are answered with 429. As many requests may
    /// wait for the end of jobs (`Prefer: wait`)
    #[arg(
        long,
        env = "MAX_STREAMS_PER_CALLER",
        value_name = "COUNT",
        default_value = "16",
        value_parser = number::<NonZeroU32>(1..=MAX)
    )]
    pub max_streams_per_caller: NonZeroU32,
    /// Rate limit: requests of one caller per second on average; more are answered with 429
    #[arg(
        long,
        env = "REQUESTS_PER_SECOND",
        value_name = "COUNT",
        default_value = "100",
        value_parser = number::<NonZeroU32>(1..=MAX)
    )]
    pub requests_per_second: NonZeroU32,
    /// Rate limit: largest burst of requests of one caller after a pause
    #[arg(
        long,
        env = "REQUESTS_AT_ONCE",
        value_name = "COUNT",
        default_value = "200",
        value_parser = number::<NonZeroU32>(1..=MAX)
    )]
    pub requests_at_once: NonZeroU32,
    /// Rate limit: requests without a valid key from one address that are answered with 401 in a
    /// burst; after it one per second, and more are answered with 429. Requests with a valid key
    /// are not affected
    #[arg(
        long,
        env = "AUTH_FAILURES_AT_ONCE",
        value_name = "COUNT",
        default_value = "100",
        value_parser = number::<NonZeroU32>(1..=MAX)
    )]
    pub auth_failures_at_once: NonZeroU32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        defaults()
    }
}
