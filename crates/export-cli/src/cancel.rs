//! `exports cancel`: ends an export that has not ended.

use export_core::JobId;
use reqwest::Method;

use crate::client::{ApiArgs, Call, EXIT_CODES, JobAnswer, Patience, out};

/// Settings of `exports cancel`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cancel {
    /// The export's id
    id: JobId,
    /// The job as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Cancel {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = self.api.client(Patience::Short)?;
        let answer = client.call(&Call::new(Method::DELETE, &["export", &self.id.to_string()])).await?;
        let found = JobAnswer::of(&answer)?;
        if self.json {
            return out(&found.json.to_string());
        }
        out(found.job.state.as_str())?;
        if found.job.state.is_active() {
            client.console.tell("its worker will hear of it within seconds; it will not finish");
        }
        Ok(())
    }
}
