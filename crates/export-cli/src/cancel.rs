//! `exports cancel`: cancels an export that has not ended.

use export_settings::print::Output;
use reqwest::Method;

use crate::client::{ApiArgs, Call, EXIT_CODES, JobAnswer, Patience};
use crate::job_ref::{JobRef, resolve};

/// Flags of `exports cancel`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cancel {
    /// The export: its id, a part of it as `exports list` prints it, or @last for your newest one
    #[arg(value_name = "ID")]
    job: JobRef,
    /// Print the job as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Cancel {
    pub(crate) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let client = self.api.client(Patience::Short)?;
        let id = resolve(&client, &self.job).await?;
        let answer = client.call(&Call::new(Method::DELETE, &["export", &id.to_string()])).await?;
        let found = JobAnswer::of(&answer)?;
        if self.json {
            output.line(&found.json.to_string());
            return Ok(());
        }
        output.line(found.job.state.as_str());
        if found.job.state.is_active() {
            client.console.note("its worker stops within seconds; the export will not finish");
        }
        Ok(())
    }
}
