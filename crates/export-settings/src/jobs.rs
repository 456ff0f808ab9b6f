//! How the API accepts jobs, releases them to the workers and keeps them going.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::parser::{count, one_of, seconds};
use crate::retry::RetrySettings;
use crate::worker::RunningSettings;

/// How jobs are accepted and kept going.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Jobs")]
pub struct JobSettings {
    /// Whether a job reuses the result of an identical earlier request of its tenant, if its range
    /// has ended: `on`, or `off` where vehicles upload late, so that hours which have ended still
    /// change
    #[arg(
        long,
        alias = "coalesce",
        env,
        value_name = "on|off",
        default_value = "on",
        value_parser = one_of("on or off", &[("on", true), ("off", false)]),
        action = clap::ArgAction::Set
    )]
    pub share_results: bool,
    /// Attempts after which a job is FAILED. A job keeps the number it was accepted with
    #[arg(long, env, value_name = "COUNT", default_value = "5", value_parser = count(1_000))]
    pub max_attempts: NonZeroU32,
    /// Time after which the API publishes the message of a waiting job again, in case the queue was
    /// lost; it doubles with each repeat, up to an hour. Only a few jobs are in the queue at a time
    /// and the others wait for them: keep it short
    #[arg(
        long = "republish-after-seconds",
        env = "REPUBLISH_AFTER_SECONDS",
        value_name = "SECONDS",
        default_value = "120",
        value_parser = seconds(1..=86_400)
    )]
    pub queue_age: Duration,
    /// How long jobs of lost workers wait.
    #[command(flatten)]
    pub retry: RetrySettings,
}

/// How waiting jobs are released to the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Fairness")]
pub struct DispatchSettings {
    // Three quarters of the default of `MAX_RUNNING_EXPORTS`, so that a quarter is left for the
    // other tenants.
    /// Most exports of one tenant that may run at a time; its other exports wait. Keep it below
    /// `MAX_RUNNING_EXPORTS`: the difference is left for the other tenants
    #[arg(long, env, value_name = "COUNT", default_value = "12", value_parser = count(100_000))]
    pub max_running_per_tenant: NonZeroU32,
    /// Exports at a time over all workers together.
    #[command(flatten)]
    pub running: RunningSettings,
}
