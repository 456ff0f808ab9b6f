//! `exports create`: creates an export through the API; waits for it and downloads it if asked.

use std::path::PathBuf;

use chrono::Utc;
use export_settings::print::{Output, note};
use reqwest::Method;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::client::{
    ApiArgs, Call, Client, ClientError, Destination, EXIT_CODES, JobAnswer, Patience, download, wait,
};
use crate::coverage::{self, CoverageArgs};
use crate::failure::UsageError;
use crate::job_ref::{JobRef, job_of, resolve};
use crate::repeat::request_of;
use crate::request_args::{RequestArgs, RequestBody};
use crate::signals::Signals;

/// Flags of `exports create`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Create {
    #[command(flatten)]
    request: RequestArgs,
    /// Start from the request of an earlier export (its id, a part of it as `exports list` prints it,
    /// or @last for your newest one); other flags replace parts of it. Its label is not used again
    #[arg(long, value_name = "ID", help_heading = "What to export")]
    like: Option<JobRef>,
    /// URL that receives a POST when the export ends
    #[arg(long, value_name = "URL", help_heading = "What to export")]
    webhook_url: Option<String>,
    /// Do not reuse an earlier result of the same request (default: reuse it as long as the service
    /// keeps it)
    #[arg(long, help_heading = "What to export")]
    fresh: bool,
    /// Name of the export in lists, such as "weekly report"
    #[arg(long, value_name = "TEXT", help_heading = "What to export")]
    label: Option<String>,
    /// Wait until the export has ended, as --download and --require-coverage do; with --json, print
    /// the job as it ended
    #[arg(long, help_heading = "Result")]
    wait: bool,
    /// Wait, then download the result: the zip to this file or into this folder, or with --archive
    /// none all files to this new folder; - is standard output (then the zip is kept in TMPDIR until
    /// it is verified, and the id is printed on standard error)
    #[arg(long, value_name = "FILE|DIR|-", help_heading = "Result")]
    download: Option<PathBuf>,
    /// With --download: replace an existing file, or a folder that holds an earlier export
    #[arg(long, requires = "download", help_heading = "Result")]
    force: bool,
    #[command(flatten)]
    coverage: CoverageArgs,
    /// Print the job as JSON instead of its id alone
    #[arg(long, help_heading = "Result")]
    json: bool,
    /// Key that identifies the request: the same request with the same key creates one export,
    /// however often it is sent [default: a new key]
    #[arg(long, value_name = "KEY", help_heading = "Service")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Create {
    pub(crate) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let is_awaited = self.wait || self.download.is_some() || self.coverage.is_required();
        let client = self.api.client(if is_awaited { Patience::Long } else { Patience::Short })?;
        let mut signals = Signals::catch()?;
        let earlier = match &self.like {
            None => Map::new(),
            Some(job) => signals.unless(self.request_like(&client, job), nothing_sent).await?,
        };
        let body = self.body(&earlier)?;
        let destination = self.destination(&body)?;

        let key = self.idempotency_key.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        let sending = send(&client, &key, &body);
        let accepted = signals.unless(sending, || request_interrupted(&key, &body)).await?;
        let id = accepted.job.id;
        if destination.as_ref().is_some_and(Destination::is_stdout) {
            note(&id.to_string());
        } else if !self.json {
            // Printed at once, so that the caller has the id if the wait is interrupted.
            output.line(&id.to_string());
        }
        client.console.note_if(accepted.job.resolved_range().map(|range| format!("range: {range}")));
        let first_warnings = accepted.job.warning_lines();
        client.console.warnings(&first_warnings);
        if !is_awaited && accepted.job.state.is_active() {
            if self.json {
                output.line(&accepted.json.to_string());
            }
            client.console.note(&format!(
                "accepted; `exports get {id} --wait` waits for its end, `exports download {id}` downloads the result"
            ));
            return Ok(());
        }
        // The export of an idempotency key that was sent before may have ended.
        let is_over = !accepted.job.state.is_active();
        let ended = if is_over { accepted } else { wait(&client, &mut signals, id).await? };
        if self.json {
            output.line(&ended.json.to_string());
        }
        ended.job.require_no_bad_end()?;
        let mut new_warnings = ended.job.warning_lines();
        new_warnings.retain(|warning| !first_warnings.contains(warning));
        client.console.warnings(&new_warnings);
        match destination {
            None => {
                client.console.note(&ended.job.figures());
                client.console.note_if(ended.job.sharing_note());
                client.console.note(&format!("`exports download {id}` downloads the result"));
            }
            Some(destination) => {
                let downloading = download(&client, &ended.job, &destination);
                let done = signals.unless(downloading, || destination.interrupted(id)).await?;
                client.console.note(&ended.job.figures());
                client.console.note_if(ended.job.sharing_note());
                client.console.note(&done);
            }
        }
        client.console.note_if(ended.job.coverage().map(coverage::line));
        Ok(self.coverage.check(ended.job.coverage())?)
    }

    async fn request_like(&self, client: &Client, job: &JobRef) -> anyhow::Result<Map<String, Value>> {
        let id = resolve(client, job).await?;
        Ok(request_of(&job_of(client, id).await?.json))
    }

    /// The place of the result, checked before an export is created.
    fn destination(&self, body: &RequestBody) -> anyhow::Result<Option<Destination>> {
        let Some(path) = &self.download else { return Ok(None) };
        let destination =
            Destination::check(Some(path.clone()), body.output_kind(), self.force, "--download")?;
        if destination.is_stdout() && self.json {
            let text = "--json: standard output has the zip with --download -; leave one of them out";
            return Err(UsageError(text.to_owned()).into());
        }
        Ok(Some(destination))
    }

    /// The body of `POST /export`.
    fn body(&self, earlier: &Map<String, Value>) -> Result<RequestBody, UsageError> {
        let mut body = self.request.body(Utc::now(), earlier)?;
        for (field, text) in [("webhookUrl", &self.webhook_url), ("label", &self.label)] {
            if let Some(text) = text {
                body.fields.insert(field.to_owned(), text.as_str().into());
            }
        }
        if self.fresh {
            body.fields.insert("fresh".to_owned(), true.into());
        }
        Ok(body)
    }
}

async fn send(client: &Client, key: &str, body: &RequestBody) -> Result<JobAnswer, ClientError> {
    let call = Call {
        headers: vec![("idempotency-key", key.to_owned())],
        body: Some(Value::Object(body.fields.clone())),
        ..Call::new(Method::POST, &["export"])
    };
    match client.call(&call).await {
        Ok(answer) => JobAnswer::of(&answer),
        Err(ClientError::Problem(mut problem)) => {
            problem.name_flags(|pointer| body.flag(pointer));
            Err(ClientError::Problem(problem))
        }
        Err(error) => Err(error),
    }
}

/// The error if the program is interrupted before it has sent the request.
fn nothing_sent() -> ClientError {
    ClientError::Interrupted("no export was created".to_owned())
}

/// The error if the program is interrupted before the API has answered.
fn request_interrupted(key: &str, body: &RequestBody) -> ClientError {
    let range = body.absolute_range().map(|range| format!(" and `{range}` as the range")).unwrap_or_default();
    ClientError::Interrupted(format!(
        "it is not known whether the export was accepted: the same command with `--idempotency-key {key}`{range} continues with it or creates it"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct CommandLine {
        #[command(flatten)]
        create: Create,
    }

    #[test]
    fn flags_of_create_alone_are_in_the_body() {
        let flags = "exports --from 2018-11-30 --to 2018-12-01 --webhook-url https://hook.test/ --fresh --label weekly";
        let create = CommandLine::try_parse_from(flags.split(' ')).expect("flags").create;
        let expected = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01",
            "webhookUrl": "https://hook.test/", "label": "weekly", "fresh": true });
        let body = create.body(&Map::new()).expect("a body");
        assert_eq!(body.flag("/fresh").as_deref(), Some("--fresh"));
        assert_eq!(body.flag("/endDate").as_deref(), Some("--to"));
        assert_eq!(body.flag("/label").as_deref(), Some("--label"));
        assert_eq!(Value::Object(body.fields), expected);
    }
}
