//! Flags of every command that calls the API.

use std::time::Duration;

use export_settings::client::ClientArgs;

use super::console::Console;
use super::send::Client;

/// The longest outage that makes sense to sit out, in seconds: a day.
const MAX_PATIENCE_SECONDS: i64 = 86_400;

/// How long an outage is sat out when nothing is said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Somebody sits in front of it: what is wrong with the URL should be told soon.
    Short,
    /// Hours of work may hang on it: a service that is being updated comes back within minutes.
    Long,
}

/// Where the API is and how patient to be.
#[derive(Debug, clap::Args)]
pub(crate) struct ApiArgs {
    #[command(flatten)]
    settings: ClientArgs,
    /// How long to go on trying while the service cannot be reached or is too busy, in seconds [default: 15; while waiting and downloading 300]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=MAX_PATIENCE_SECONDS), help_heading = "Service")]
    retry_for: Option<u32>,
    /// Say nothing but results and errors
    #[arg(short, long, help_heading = "Service")]
    quiet: bool,
}

impl ApiArgs {
    /// A client.
    pub(crate) fn client(&self, patience: Patience) -> anyhow::Result<Client> {
        let patience = match (self.retry_for, patience) {
            (Some(seconds), _) => Duration::from_secs(seconds.into()),
            (None, Patience::Short) => Duration::from_secs(15),
            (None, Patience::Long) => Duration::from_mins(5),
        };
        Client::new(self.settings.resolve()?, patience, Console::new(self.quiet))
    }
}
