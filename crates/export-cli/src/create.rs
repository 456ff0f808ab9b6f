//! `exports create`: creates an export through the API; waits for it and downloads it if asked.

use std::path::PathBuf;

use export_settings::print::Output;
use indicatif::HumanCount;
use reqwest::Method;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::client::{
    ApiArgs, Call, Client, ClientError, Destination, EXIT_CODES, Job, JobAnswer, Patience, download,
    download_interrupted, wait,
};
use crate::coverage::{self, CoverageArgs};
use crate::request_args::RequestArgs;
use crate::signals::Signals;

/// Flags of `exports create`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Create {
    #[command(flatten)]
    request: RequestArgs,
    /// URL that receives a POST when the export ends
    #[arg(long, value_name = "URL", help_heading = "What to export")]
    webhook_url: Option<String>,
    /// Do not reuse an earlier result of the same request (default: reuse it as long as the service
    /// keeps it)
    #[arg(long, help_heading = "What to export")]
    fresh: bool,
    /// Wait until the export has ended; with --json, print the job as it ended
    #[arg(long, help_heading = "Result")]
    wait: bool,
    /// Wait, then download the result: the zip to this file or into this folder, or with --archive
    /// none all files to this new folder
    #[arg(long, value_name = "FILE|DIR", help_heading = "Result")]
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
        let destination = self
            .download
            .clone()
            .map(|path| Destination::check(Some(path), self.request.output_kind(), self.force, "--download"));
        let destination = destination.transpose()?;
        let is_awaited = self.wait || destination.is_some();
        let client = self.api.client(if is_awaited { Patience::Long } else { Patience::Short })?;
        let mut signals = Signals::catch()?;

        let key = self.idempotency_key.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        let accepted = signals.unless(self.send(&client, &key), || request_interrupted(&key)).await?;
        let id = accepted.job.id;
        if !self.json {
            // Printed at once, so that the caller has the id if the wait is interrupted.
            output.line(&id.to_string());
        }
        client.console.note_if(accepted.job.resolved_range().map(|range| format!("range: {range}")));
        let first_warnings = accepted.job.warning_lines();
        first_warnings.iter().for_each(|warning| client.console.note(warning));
        if !is_awaited {
            if self.json {
                output.line(&accepted.json.to_string());
            }
            client.console.note(&format!(
                "accepted; `exports get {id} --wait` waits for its end, `exports download {id}` downloads the result"
            ));
            return Ok(());
        }
        let ended = wait(&client, &mut signals, id).await?;
        if self.json {
            output.line(&ended.json.to_string());
        }
        ended.job.require_no_bad_end()?;
        for warning in ended.job.warning_lines().iter().filter(|warning| !first_warnings.contains(warning)) {
            client.console.note(warning);
        }
        match destination {
            None => {
                client.console.note(&finished(&ended.job));
                client.console.note(&format!("`exports download {id}` downloads the result"));
            }
            Some(destination) => {
                let done = signals
                    .unless(download(&client, &ended.job, &destination), || download_interrupted(id))
                    .await?;
                client.console.note(&finished(&ended.job));
                client.console.note(&done);
            }
        }
        client.console.note_if(ended.job.coverage().map(coverage::line));
        Ok(self.coverage.check(ended.job.coverage())?)
    }

    async fn send(&self, client: &Client, key: &str) -> Result<JobAnswer, ClientError> {
        let call = Call {
            headers: vec![("idempotency-key", key.to_owned())],
            body: Some(Value::Object(self.body())),
            ..Call::new(Method::POST, &["export"])
        };
        match client.call(&call).await {
            Ok(answer) => JobAnswer::of(&answer),
            Err(ClientError::Problem(mut problem)) => {
                problem.name_flags(|pointer| self.flag(pointer));
                Err(ClientError::Problem(problem))
            }
            Err(error) => Err(error),
        }
    }

    /// The body of `POST /export`.
    fn body(&self) -> Map<String, Value> {
        let mut body = self.request.body();
        if let Some(url) = &self.webhook_url {
            body.insert("webhookUrl".to_owned(), url.clone().into());
        }
        if self.fresh {
            body.insert("fresh".to_owned(), true.into());
        }
        body
    }

    /// The flag that a JSON pointer into the body is about.
    fn flag(&self, pointer: &str) -> Option<String> {
        if pointer == "/fresh" { Some("--fresh".to_owned()) } else { self.request.flag(pointer) }
    }
}

/// One line of figures of a finished export.
fn finished(job: &Job) -> String {
    let stats = job.stats.as_ref();
    let (rows, points) = stats.map_or((0, 0), |stats| (stats.rows, stats.points));
    let rejected = match stats.map_or(0, |stats| stats.rejected) {
        0 => String::new(),
        rejected => format!("; rejected: {} (manifest.json says which and why)", HumanCount(rejected)),
    };
    format!(
        "FINISHED: {} vehicles, {} rows, {} points{rejected}",
        job.progress.vehicles_done,
        HumanCount(rows),
        HumanCount(points)
    )
}

/// The error if the program is interrupted before the API has answered.
fn request_interrupted(key: &str) -> ClientError {
    ClientError::Interrupted(format!(
        "it is not known whether the export was accepted: the same command with `--idempotency-key {key}` continues with it or creates it"
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
        let flags = "exports --from 2018-11-30 --to 2018-12-01 --webhook-url https://hook.test/ --fresh";
        let create = CommandLine::try_parse_from(flags.split(' ')).expect("flags").create;
        let expected = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01",
            "webhookUrl": "https://hook.test/", "fresh": true });
        assert_eq!(Value::Object(create.body()), expected);
        assert_eq!(create.flag("/fresh").as_deref(), Some("--fresh"));
        assert_eq!(create.flag("/endDate").as_deref(), Some("--to"));
    }
}
