//! Flags of every command that calls the API.

use std::time::Duration;

use export_settings::client::ClientArgs;

use super::send::Client;
use crate::print::Console;

/// Longest `--retry-for`, in seconds: a day.
const MAX_RETRY_SECONDS: i64 = 86_400;

/// How long to retry while the service is unavailable, unless `--retry-for` says it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// 15 s: a person waits for the answer, and should soon see that the URL is wrong.
    Short,
    /// 5 min: hours of work may depend on it, and a service that is being updated is back within
    /// minutes.
    Long,
}

/// Where the API is, and how long to retry.
#[derive(Debug, clap::Args)]
pub(crate) struct ApiArgs {
    #[command(flatten)]
    settings: ClientArgs,
    /// How long to retry while the service cannot be reached or is too busy, in seconds [default:
    /// 15; while waiting and downloading 300]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=MAX_RETRY_SECONDS), help_heading = "Service")]
    retry_for: Option<u32>,
    /// Print only results, warnings and errors
    #[arg(short, long, help_heading = "Service")]
    quiet: bool,
}

impl ApiArgs {
    /// The client that these flags ask for.
    pub(crate) fn client(&self, patience: Patience) -> anyhow::Result<Client> {
        let patience = match (self.retry_for, patience) {
            (Some(seconds), _) => Duration::from_secs(seconds.into()),
            (None, Patience::Short) => Duration::from_secs(15),
            (None, Patience::Long) => Duration::from_mins(5),
        };
        Client::new(self.settings.resolve()?, patience, Console::new(self.quiet))
    }
}
