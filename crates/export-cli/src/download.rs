//! `exports download`: downloads the result of an export and verifies it.

use std::path::PathBuf;

use export_core::JobId;

use crate::client::{
    ApiArgs, Call, Destination, EXIT_CODES, JobAnswer, Patience, download, download_interrupted, wait,
};
use crate::coverage::{self, CoverageArgs};
use crate::output_path::OutputKind;
use crate::signals::Signals;

/// Flags of `exports download`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Download {
    /// The export's id
    id: JobId,
    /// Where to write the zip: a file or an existing folder; for an export without archive, the new
    /// folder for its files [default: the id, and `.zip`]
    #[arg(short, long, value_name = "FILE|DIR")]
    output: Option<PathBuf>,
    /// Replace an existing file, or a folder that holds an earlier export
    #[arg(long)]
    force: bool,
    /// First wait until the export has ended
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    coverage: CoverageArgs,
    #[command(flatten)]
    api: ApiArgs,
}

impl Download {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = self.api.client(Patience::Long)?;
        let mut signals = Signals::catch()?;
        let found = if self.wait {
            wait(&client, &mut signals, self.id).await?
        } else {
            let id = self.id.to_string();
            let call = Call::get(&["export", &id]);
            let answer = signals.unless(client.call(&call), || download_interrupted(self.id)).await?;
            JobAnswer::of(&answer)?
        };
        found.job.require_no_bad_end()?;
        let kind = OutputKind::of_archive(&found.job.archive);
        let destination = Destination::check(self.output, kind, self.force, "--output")?;
        let downloading = download(&client, &found.job, &destination);
        let done = signals.unless(downloading, || download_interrupted(self.id)).await?;
        client.console.note(&done);
        found.job.warning_lines().iter().for_each(|warning| client.console.note(warning));
        client.console.note_if(found.job.coverage().map(coverage::line));
        Ok(self.coverage.check(found.job.coverage())?)
    }
}
