//! `exports download`: the result of an export.

use std::path::PathBuf;

use anyhow::Context as _;
use export_core::JobId;

use crate::client::{
    ApiArgs, Call, Destination, EXIT_CODES, JobAnswer, Patience, download, interrupted, wait,
};
use crate::create::goes_on;
use crate::signals::Signals;

/// Settings of `exports download`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Download {
    /// The export's id
    id: JobId,
    /// The zip's file, or a folder for it; of an export without archive the new folder for its files [default: the id, and `.zip`]
    #[arg(short, long, value_name = "FILE|DIR")]
    output: Option<PathBuf>,
    /// Replace what is there
    #[arg(long)]
    force: bool,
    /// Wait for the end of the export first
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Download {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = self.api.client(Patience::Long)?;
        let mut signals = Signals::catch().context("signals cannot be caught")?;
        let found = if self.wait {
            signals.unless(wait(&client, self.id), || goes_on(self.id)).await?
        } else {
            let id = self.id.to_string();
            let asked = Call::get(&["export", &id]);
            signals
                .unless(client.call(&asked), || interrupted(self.id))
                .await
                .and_then(|answer| Ok(JobAnswer::of(&answer)?))?
        };
        found.job.require_no_bad_end()?;
        let is_folder = found.job.archive == "none";
        let destination = Destination::check(self.output, is_folder, self.force, "--output")?;
        let done =
            signals.unless(download(&client, &found.job, &destination), || interrupted(self.id)).await?;
        client.console.tell(&done);
        Ok(())
    }
}
