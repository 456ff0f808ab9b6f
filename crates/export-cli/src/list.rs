//! `exports list`: lists exports, newest first.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use export_core::job::JobState;
use export_settings::print::Output;
use serde::Deserialize as _;
use serde_json::Value;

use crate::client::{ApiArgs, EXIT_CODES, Job, Patience};
use crate::pages::{Pages, RowOf};
use crate::print::sanitized;
use crate::table::Table;

/// Flags of `exports list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct List {
    /// Only exports in this state; may be repeated
    #[arg(long = "state", value_name = "STATE", ignore_case = true, value_parser = state_names())]
    states: Vec<String>,
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

/// Accepts the names of states in any case.
fn state_names() -> impl TypedValueParser<Value = String> {
    let names = JobState::ALL.map(|state| PossibleValue::new(state.as_str()).help(state.predicate()));
    PossibleValuesParser::new(names).map(|name| name.to_uppercase())
}

impl List {
    pub(crate) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let client = self.api.client(Patience::Short)?;
        let names = self.states.join(",");
        let states = if names.is_empty() { Vec::new() } else { vec![("state", names)] };
        let limit = (!self.all).then_some(self.limit);
        let pages = Pages::new(&["export"], states, limit);
        let table = Table::new(&["ID", "STATE", "RANGE", "VEHICLES", "PROGRESS", "CREATED"]);
        let row = (!self.json).then_some(row as RowOf);
        let table = pages.print(&client, |page| page.exports, table, row, output).await?.table;
        if table.is_empty() && !self.json {
            client.console.note("no exports found");
        }
        Ok(())
    }
}

fn row(json: &Value) -> serde_json::Result<Vec<String>> {
    let job = Job::deserialize(json)?;
    let vehicles = match &job.vehicles[..] {
        [] => "all".to_owned(),
        [only] => sanitized(only),
        several => several.len().to_string(),
    };
    Ok(vec![
        job.id.to_string(),
        job.state.as_str().to_owned(),
        job.range(),
        vehicles,
        format!("{:.0} %", job.progress.percent),
        sanitized(&job.created_at),
    ])
}
