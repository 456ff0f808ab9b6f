//! How much of the API one client, and all clients together, may use.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::parser::{count, seconds};

/// More than one machine serves; the bound only keeps a typing error from overflowing anything.
const MAX: u64 = 1_000_000;
/// A slow mobile connection; a connection that is slower than this is hardly usable.
const LOWEST_BYTES_PER_SECOND: NonZeroU32 = NonZeroU32::new(2_048).expect("not zero");
const AUTH_FAILURES_AT_ONCE: NonZeroU32 = NonZeroU32::new(100).expect("not zero");

/// How much of the API one client, and all clients together, may use.
///
/// The defaults are generous for people and their scripts, and less than two cores can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// Longest time for the head of a request to arrive, and for a kept connection to wait for its
    /// next request
    #[arg(long, env, value_name = "SECONDS", default_value = "10", value_parser = seconds(1..=3_600))]
    pub header_read_seconds: Duration,
    /// Longest time for the body of a request to arrive
    #[arg(skip = Duration::from_secs(10))]
    pub body_read: Duration,
    /// Longest time for which a client may read nothing of its answer; then its connection is
    /// closed
    #[arg(skip = Duration::from_secs(60))]
    pub write_stall: Duration,
    /// Lowest rate at which a client may take an answer, after an allowance of `write_stall`
    #[arg(skip = LOWEST_BYTES_PER_SECOND)]
    pub lowest_bytes_per_second: NonZeroU32,
    /// Most open connections, each of which needs a file descriptor; more are closed at once
    #[arg(long, env, value_name = "COUNT", default_value = "8192", value_parser = count(MAX))]
    pub max_connections: NonZeroU32,
    /// Most open connections of one address (of IPv6: one /64 network); more are closed at once.
    /// `TRUSTED_PROXIES` are exempt
    #[arg(long, env, value_name = "COUNT", default_value = "512", value_parser = count(MAX))]
    pub max_connections_per_address: NonZeroU32,
    /// Most requests of all callers that the API works on at a time; more are answered with 503
    #[arg(long, env, value_name = "COUNT", default_value = "1024", value_parser = count(MAX))]
    pub max_requests: NonZeroU32,
    /// Most requests of one caller that are open at a time, until their answers are delivered; more
    /// are answered with 429. A caller
    /// is a key, a token's subject, or with `AUTH=none` an address
    #[arg(long, env, value_name = "COUNT", default_value = "64", value_parser = count(MAX))]
    pub max_requests_per_caller: NonZeroU32,
    /// Most event streams of one caller at a time; more are answered with 429. As many requests may
    /// wait for the end of jobs (`Prefer: wait`)
    #[arg(long, env, value_name = "COUNT", default_value = "16", value_parser = count(MAX))]
    pub max_streams_per_caller: NonZeroU32,
    /// Rate limit: requests of one caller per second on average; more are answered with 429
    #[arg(long, env, value_name = "COUNT", default_value = "100", value_parser = count(MAX))]
    pub requests_per_second: NonZeroU32,
    /// Rate limit: largest burst of requests of one caller after a pause
    #[arg(long, env, value_name = "COUNT", default_value = "200", value_parser = count(MAX))]
    pub requests_at_once: NonZeroU32,
    /// Rate limit: requests without a valid key from one address that are answered with 401 in a
    /// burst; after it one per second, and more are answered with 429. Requests with a key that was
    /// valid before are not affected
    #[arg(skip = AUTH_FAILURES_AT_ONCE)]
    pub auth_failures_at_once: NonZeroU32,
}
