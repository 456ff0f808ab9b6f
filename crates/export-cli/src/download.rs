//! `exports download`: downloads the result of an export and verifies it.

use std::path::PathBuf;

use crate::client::{ApiArgs, ClientError, Destination, EXIT_CODES, Patience, download, wait};
use crate::coverage::{self, CoverageArgs};
use crate::job_ref::{JobRef, job_of, resolve};
use crate::signals::Signals;

/// Flags of `exports download`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Download {
    /// The export: its id, a part of it as `exports list` prints it, or @last for your newest one
    #[arg(value_name = "ID")]
    job: JobRef,
    /// Where to write the zip: a file, an existing folder, or - for standard output (then the zip is
    /// kept in TMPDIR until it is verified); for an export without archive, the new folder for its
    /// files [default: the id, and `.zip`]
    #[arg(short, long, value_name = "FILE|DIR|-")]
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
        let interrupted = || {
            let job = &self.job;
            ClientError::Interrupted(format!("nothing was downloaded; `exports download {job}` does it"))
        };
        let id = signals.unless(resolve(&client, &self.job), interrupted).await?;
        let found = if self.wait {
            wait(&client, &mut signals, id).await?
        } else {
            signals.unless(job_of(&client, id), interrupted).await?
        };
        let job = &found.job;
        job.require_no_bad_end()?;
        let destination = Destination::check(self.output.clone(), job.output_kind(), self.force, "--output")?;
        let downloading = download(&client, job, &destination);
        let done = signals.unless(downloading, || destination.interrupted(id)).await?;
        client.console.note(&done);
        client.console.note_if(job.sharing_note());
        client.console.warnings(&job.warning_lines());
        client.console.note_if(job.coverage().map(coverage::line));
        Ok(self.coverage.check(job.coverage())?)
    }
}
