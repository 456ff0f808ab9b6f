//! `exports list`: lists exports, newest first.

use chrono::{DateTime, Utc};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use export_core::job::JobState;
use export_settings::print::Output;
use indicatif::BinaryBytes;
use serde::Deserialize as _;
use serde_json::Value;

use crate::client::{ApiArgs, EXIT_CODES, Job, Patience};
use crate::failure::UsageError;
use crate::job_ref::{MAX_SEARCHED, short};
use crate::pages::{Pages, RowOf};
use crate::print::sanitized;
use crate::request_args::parse_since;
use crate::table::Table;
use crate::times::Times;

/// Flags of `exports list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct List {
    /// Only exports in this state; repeat the flag or separate states with commas
    #[arg(long = "state", value_name = "STATE", ignore_case = true, value_delimiter = ',', value_parser = state_names(&JobState::ALL))]
    states: Vec<String>,
    /// Only exports created since then: a date (its midnight in UTC), a time, or how long ago: 7d, 2w
    /// (from today's midnight in UTC), 12h or 90m
    #[arg(long, value_name = "DATE", allow_hyphen_values = true)]
    since: Option<String>,
    /// Only exports that name this vehicle, or that are of all vehicles
    #[arg(long, value_name = "NAME")]
    vehicle: Option<String>,
    /// Only exports that you have created, with the key of this command
    #[arg(long)]
    mine: bool,
    /// Most exports to list
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), value_name = "COUNT")]
    limit: u32,
    /// List all exports
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Print a line of JSON for each job
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Accepts the names of these states in any case.
pub(crate) fn state_names(states: &[JobState]) -> impl TypedValueParser<Value = String> + use<> {
    PossibleValuesParser::new(states.iter().map(|state| PossibleValue::new(state.as_str())))
        .map(|name| name.to_uppercase())
}

impl List {
    pub(crate) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let now = Utc::now();
        let query = self.query(now)?;
        let client = self.api.client(Patience::Short)?;
        let limit = (!self.all).then_some(self.limit);
        // Commands look for a short id among the newest exports, whatever is listed.
        let has_short_ids = query.is_empty() && limit.is_some_and(|limit| limit <= MAX_SEARCHED);
        let times = Times::on_stdout(now);
        let pages = Pages::new(&["export"], query, limit);
        let table = Table::new(&[
            "ID",
            "STATE",
            "RANGE",
            "VEHICLES",
            "PARAMETERS",
            "FILES",
            "SIZE",
            "CREATED",
            "EXPIRES",
            "SHARED",
            "LABEL",
        ]);
        let row = |json: &Value| row(json, times, has_short_ids);
        let row: Option<RowOf<'_>> = (!self.json).then_some(&row);
        let table = pages.print(&client, |page| page.exports, table, row, output).await?.table;
        if table.is_empty() && !self.json {
            client.console.note("no exports found");
        }
        Ok(())
    }

    fn query(&self, now: DateTime<Utc>) -> Result<Vec<(&'static str, String)>, UsageError> {
        let since = self.since.as_deref().map(|text| parse_since(text, now)).transpose();
        let since = since.map_err(|detail| UsageError(format!("--since: {detail}")))?;
        let query = [
            ("state", Some(self.states.join(",")).filter(|names| !names.is_empty())),
            ("since", since),
            ("vehicle", self.vehicle.clone()),
            ("mine", self.mine.then(|| "true".to_owned())),
        ];
        Ok(query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

/// A state, and what explains it if that is known: why the job waits or has failed.
fn with_reason(state: JobState, reason: Option<&str>) -> String {
    reason.map_or_else(
        || state.as_str().to_owned(),
        |reason| format!("{}: {}", state.as_str(), sanitized(reason)),
    )
}

fn row(json: &Value, times: Times, has_short_ids: bool) -> serde_json::Result<Vec<String>> {
    let job = Job::deserialize(json)?;
    // Programs get the whole id.
    let is_short = has_short_ids && times.are_relative();
    let counted = |names: &[String]| match names {
        [] => "all".to_owned(),
        [only] => sanitized(only),
        several => several.len().to_string(),
    };
    let state = match job.state {
        JobState::Started => format!("{} {:.0} %", job.state.as_str(), job.progress.percent),
        JobState::NotStarted => with_reason(job.state, job.waiting_for.as_deref()),
        JobState::Failed => with_reason(job.state, job.error.as_ref().map(|error| error.code.as_str())),
        JobState::Finished if job.stats.as_ref().is_some_and(|stats| stats.rows == 0) => {
            with_reason(job.state, Some("no rows"))
        }
        state => state.as_str().to_owned(),
    };
    let or_dash =
        |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
    Ok(vec![
        if is_short { short(job.id) } else { job.id.to_string() },
        state,
        job.range(),
        counted(&job.vehicles),
        counted(&job.parameters),
        or_dash(Some(job.options())),
        or_dash(job.stats.as_ref().map(|stats| BinaryBytes(stats.bytes).to_string())),
        times.show(&job.created_at),
        or_dash(job.expires_at.as_deref().map(|time| times.show(time))),
        if job.is_shared() { "yes" } else { "no" }.to_owned(),
        or_dash(job.label.as_deref().map(sanitized)),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_has_the_whole_request() {
        let now: DateTime<Utc> = "2026-12-01T12:00:00Z".parse().expect("a time");
        let job = json!({
            "_id": "01983c5e-7a01-7c3a-9d5e-0123456789ab", "state": "FINISHED", "startDate": "2018-11-30",
            "endDate": "2018-12-01", "timezone": "Europe/Amsterdam", "vehicles": ["a", "b"], "parameters": [],
            "format": "csv", "archive": "zip", "timeFormat": "rfc3339", "csvGuard": "on", "stepMs": 60_000, "fill": "none",
            "stats": { "rows": 1, "points": 1, "rejected": 0, "bytes": 3 << 20, "sha256": "" }, "shared": true,
            "label": "weekly\u{202e}", "createdAt": "2026-12-01T11:57:00.000Z", "expiresAt": "2026-12-07T13:00:00.000Z",
        });
        let expected = |id: &str, created: &str, expires: &str| {
            [
                id,
                "FINISHED",
                "2018-11-30 … 2018-12-01 Europe/Amsterdam",
                "2",
                "all",
                "csv, time-format rfc3339, step-ms 60000",
                "3.00 MiB",
                created,
                expires,
                "yes",
                "weekly\u{fffd}",
            ]
            .map(str::to_owned)
        };
        let (id, tty) = ("01983c5e-7a01-7c3a-9d5e-0123456789ab", Times::RelativeTo(now));
        assert_eq!(row(&job, tty, true).expect("a job"), expected("456789ab", "3 min ago", "in 6 days"));
        assert_eq!(row(&job, tty, false).expect("a job")[0], id);
        let piped = expected(id, "2026-12-01T11:57:00.000Z", "2026-12-07T13:00:00.000Z");
        assert_eq!(row(&job, Times::Absolute, true).expect("a job"), piped);
        let running = json!({
            "_id": id, "state": "STARTED", "startDate": "2018-11-30", "endDate": "2018-12-01",
            "progress": { "percent": 42.4, "vehiclesDone": 0, "vehiclesTotal": 2, "rows": 0, "points": 0, "bytes": 0 },
        });
        let cells = row(&running, tty, true).expect("a job");
        assert_eq!(
            cells[1..],
            ["STARTED 42 %", "2018-11-30 … 2018-12-01", "all", "all", "-", "-", "", "-", "no", "-"]
        );
    }
}
