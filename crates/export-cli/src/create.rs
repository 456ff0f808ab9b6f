//! `exports create`: asks the API for an export; waits for it and downloads it where that is wanted.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use export_core::JobId;
use indicatif::HumanCount;
use reqwest::Method;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::client::{
    ApiArgs, Call, Client, ClientError, Destination, EXIT_CODES, Job, JobAnswer, Patience, download,
    interrupted, out, wait,
};
use crate::signals::Signals;

/// Settings of `exports create`. Texts are taken as they are: what is right is decided by the API.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Create {
    #[command(flatten)]
    request: RequestArgs,
    /// Wait for the end; with --json the job is then told as it ended
    #[arg(long, help_heading = "Result")]
    wait: bool,
    /// Wait, and download the result: the zip to this file or into this folder, or with --archive none all files to this new folder
    #[arg(long, value_name = "FILE|DIR", help_heading = "Result")]
    download: Option<PathBuf>,
    /// With --download: replace what is there
    #[arg(long, requires = "download", help_heading = "Result")]
    force: bool,
    /// The job as JSON, instead of its id alone
    #[arg(long, help_heading = "Result")]
    json: bool,
    /// Name of the request: the same request with the same key makes one export, however often it is sent [default: a new one]
    #[arg(long, value_name = "KEY", help_heading = "Service")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

/// Each is a field of the body of `POST /export`.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "What to export")]
struct RequestArgs {
    /// First day (2018-11-30, from midnight in --timezone) or instant (2018-11-30T08:00:00Z)
    #[arg(long, visible_alias = "start-date", value_name = "DATE")]
    from: String,
    /// Day or instant that the range ends before
    #[arg(long, visible_alias = "end-date", value_name = "DATE")]
    to: String,
    /// A vehicle; may be repeated [default: all]
    #[arg(long = "vehicle", value_name = "NAME")]
    vehicles: Vec<String>,
    /// A parameter; repeated, in the order of the columns [default: all]
    #[arg(long = "parameter", value_name = "NAME")]
    parameters: Vec<String>,
    /// IANA zone of days and of rfc3339 times [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// csv or parquet [default: csv]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// zip, or none for a file per vehicle [default: zip]
    #[arg(long, value_name = "ARCHIVE")]
    archive: Option<String>,
    /// Of CSVs with --archive none: gzip, zstd or none [default: gzip]
    #[arg(long, value_name = "COMPRESSION")]
    compression: Option<String>,
    /// Of CSVs
    #[arg(long, value_name = "FORMAT", help = "Of CSVs: unix_ms or rfc3339 [default: unix_ms]")]
    time_format: Option<String>,
    /// Of CSVs: on or off; on puts a ' before strings that a spreadsheet would run [default: on]
    #[arg(long, value_name = "GUARD")]
    csv_guard: Option<String>,
    /// One row per interval of so many milliseconds
    #[arg(long, value_name = "MILLISECONDS", allow_hyphen_values = true)]
    step_ms: Option<String>,
    /// With --step-ms: none, or previous for the last value known [default: none]
    #[arg(long, value_name = "FILL")]
    fill: Option<String>,
    /// Where the service sends word when the export ends
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// Read the source even where an earlier export of the same request could be shared
    #[arg(long)]
    fresh: bool,
}

impl Create {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let is_folder = self.request.archive.as_deref() == Some("none");
        let path = self.download.clone();
        let destination =
            path.map(|path| Destination::check(Some(path), is_folder, self.force, "--download"));
        let destination = destination.transpose()?;
        let is_awaited = self.wait || destination.is_some();
        let client = self.api.client(if is_awaited { Patience::Long } else { Patience::Short })?;
        let mut signals = Signals::catch().context("signals cannot be caught")?;

        let key = self.idempotency_key.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        let accepted = signals.unless(self.request.send(&client, &key), || not_known(&key)).await?;
        let id = accepted.job.id;
        if !self.json {
            // At once, so that whoever is interrupted has it.
            out(&id.to_string())?;
        }
        if !is_awaited {
            if self.json {
                out(&accepted.json.to_string())?;
            }
            client.console.tell(&format!("accepted; `exports get {id} --wait` waits for its end, `exports download {id}` gets the result"));
            return Ok(());
        }
        let ended = signals.unless(wait(&client, id), || goes_on(id)).await?;
        if self.json {
            out(&ended.json.to_string())?;
        }
        ended.job.require_no_bad_end()?;
        match destination {
            None => {
                client.console.tell(&finished(&ended.job));
                client.console.tell(&format!("`exports download {id}` gets the result"));
            }
            Some(destination) => {
                let done =
                    signals.unless(download(&client, &ended.job, &destination), || interrupted(id)).await?;
                client.console.tell(&finished(&ended.job));
                client.console.tell(&done);
            }
        }
        Ok(())
    }
}

/// A line about what came of it.
pub(crate) fn finished(job: &Job) -> String {
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

/// For who is interrupted while an export is waited for.
pub(crate) fn goes_on(id: JobId) -> ClientError {
    ClientError::Interrupted(format!(
        "the export goes on: `exports get {id} --wait` waits for it again, `exports cancel {id}` ends it"
    ))
}

fn not_known(key: &str) -> ClientError {
    ClientError::Interrupted(format!(
        "whether the export was accepted is not known: the same command with `--idempotency-key {key}` goes on with it, or makes it"
    ))
}

impl RequestArgs {
    async fn send(&self, client: &Client, key: &str) -> Result<JobAnswer, ClientError> {
        let call = Call {
            headers: vec![("idempotency-key", key.to_owned())],
            body: Some(Value::Object(self.body())),
            ..Call::new(Method::POST, &["export"])
        };
        match client.call(&call).await {
            Ok(answer) => JobAnswer::of(&answer),
            Err(ClientError::Problem(mut problem)) => {
                problem.name_options(|pointer| self.option(pointer));
                Err(ClientError::Problem(problem))
            }
            Err(error) => Err(error),
        }
    }

    fn body(&self) -> Map<String, Value> {
        let texts = [
            ("startDate", Some(&self.from)),
            ("endDate", Some(&self.to)),
            ("timezone", self.timezone.as_ref()),
            ("format", self.format.as_ref()),
            ("archive", self.archive.as_ref()),
            ("compression", self.compression.as_ref()),
            ("timeFormat", self.time_format.as_ref()),
            ("csvGuard", self.csv_guard.as_ref()),
            ("fill", self.fill.as_ref()),
            ("webhookUrl", self.webhook_url.as_ref()),
        ];
        let given =
            texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.clone().into())));
        let mut body: Map<String, Value> = given.collect();
        for (name, list) in [("vehicles", &self.vehicles), ("parameters", &self.parameters)] {
            if !list.is_empty() {
                body.insert(name.to_owned(), list.clone().into());
            }
        }
        if let Some(text) = &self.step_ms {
            // What is no number stays a text, which is refused in the words that the API has for it.
            let step = text.parse::<u64>().map_or_else(|_| text.clone().into(), Value::from);
            body.insert("stepMs".to_owned(), step);
        }
        if self.fresh {
            body.insert("fresh".to_owned(), true.into());
        }
        body
    }

    /// The option that a JSON pointer into the body is about, with the entry where it is a list's.
    fn option(&self, pointer: &str) -> Option<String> {
        let mut parts = pointer.split('/').skip(1);
        let (option, list) = match parts.next()? {
            "" => return None,
            "startDate" => ("--from".to_owned(), &[][..]),
            "endDate" => ("--to".to_owned(), &[][..]),
            "fresh" => ("--fresh".to_owned(), &[][..]),
            "vehicles" => ("--vehicle".to_owned(), &self.vehicles[..]),
            "parameters" => ("--parameter".to_owned(), &self.parameters[..]),
            field => (flag_of(field), &[][..]),
        };
        let entry = parts.next().and_then(|index| list.get(index.parse::<usize>().ok()?));
        Some(entry.map_or_else(|| option.clone(), |entry| format!("{option} {entry:?}")))
    }
}

/// The flag of a field: `timeFormat` is `--time-format`.
fn flag_of(field: &str) -> String {
    field.chars().fold("--".to_owned(), |mut flag, character| {
        if character.is_ascii_uppercase() {
            flag.push('-');
        }
        // Writing to a text cannot fail.
        let _ = write!(flag, "{}", character.to_ascii_lowercase());
        flag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> RequestArgs {
        RequestArgs {
            from: "2018-11-30".to_owned(),
            to: "2018-12-01".to_owned(),
            vehicles: vec!["b".to_owned(), "a,b".to_owned()],
            step_ms: Some("1000".to_owned()),
            webhook_url: Some("https://hook.test/".to_owned()),
            ..RequestArgs::default()
        }
    }

    #[test]
    fn flags_make_the_body() {
        let expected = serde_json::json!({
            "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": ["b", "a,b"], "stepMs": 1000,
            "webhookUrl": "https://hook.test/",
        });
        assert_eq!(Value::Object(args().body()), expected);
        let odd = RequestArgs { step_ms: Some("-5".to_owned()), ..args() };
        assert_eq!(odd.body()["stepMs"], "-5", "refused by the API in its own words");
        let fresh = RequestArgs { fresh: true, ..args() };
        assert_eq!(fresh.body()["fresh"], true);
    }

    #[test]
    fn pointers_are_options() {
        for (pointer, option) in [
            ("/startDate", Some("--from")),
            ("/endDate", Some("--to")),
            ("/vehicles/1", Some("--vehicle \"a,b\"")),
            ("/vehicles/7", Some("--vehicle")),
            ("/parameters", Some("--parameter")),
            ("/timeFormat", Some("--time-format")),
            ("/stepMs", Some("--step-ms")),
            ("/webhookUrl", Some("--webhook-url")),
            ("/fresh", Some("--fresh")),
            ("", None),
            ("/", None),
        ] {
            assert_eq!(args().option(pointer).as_deref(), option, "{pointer}");
        }
    }
}
