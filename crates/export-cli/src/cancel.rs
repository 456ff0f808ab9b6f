//! `exports cancel`: cancels an export that has not ended.

use export_core::JobId;
use export_settings::print::Output;
use reqwest::Method;

use crate::client::{ApiArgs, Call, EXIT_CODES, JobAnswer, Patience};

/// Flags of `exports cancel`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cancel {
    /// The export's id
    id: JobId,
    /// Print the job as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Cancel {
    pub(crate) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let client = self.api.client(Patience::Short)?;
        let answer = client.call(&Call::new(Method::DELETE, &["export", &self.id.to_string()])).await?;
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
