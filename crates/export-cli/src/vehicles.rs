//! `exports vehicles`: lists vehicles with their parameters.

use export_settings::print::Output;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{ApiArgs, EXIT_CODES, Patience};
use crate::duration::duration;
use crate::pages::{CatalogState, Pages, Printed, RowOf};
use crate::print::sanitized;
use crate::table::Table;

/// Flags of `exports vehicles`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Vehicles {
    /// Only vehicles whose names contain this text
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Print a line of JSON for each vehicle
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vehicle {
    #[serde(rename = "vehicle")]
    name: String,
    first_hour: Option<Value>,
    last_hour: Option<Value>,
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Debug, Deserialize)]
struct Parameter {
    name: String,
}

impl Vehicles {
    pub(crate) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let client = self.api.client(Patience::Short)?;
        let search = self.search.iter().map(|text| ("search", text.clone())).collect();
        let pages = Pages::new(&["vehicles"], search, None);
        let table = Table::new(&["VEHICLE", "FIRST HOUR", "LAST HOUR", "PARAMETERS"]);
        let row: Option<RowOf<'_>> = (!self.json).then_some(&row);
        let Printed { table, catalog } =
            pages.print(&client, |page| page.vehicles, table, row, output).await?;
        if table.is_empty() && !self.json {
            client.console.note("no vehicles found");
        }
        client.console.note_if(catalog.as_ref().map(describe));
        Ok(())
    }
}

/// How current the list is.
fn describe(catalog: &CatalogState) -> String {
    match (catalog.age_seconds, catalog.ready) {
        (Some(seconds), true) => format!("list of vehicles as of {} ago", duration(seconds)),
        (Some(seconds), false) => {
            let age = duration(seconds);
            format!(
                "warning: the list was last refreshed {age} ago, so vehicles may be missing; is a worker running?"
            )
        }
        (None, _) => {
            "warning: the list of vehicles was not made yet, so vehicles may be missing; is a worker running?"
                .to_owned()
        }
    }
}

fn row(json: &Value) -> serde_json::Result<Vec<String>> {
    let vehicle = Vehicle::deserialize(json)?;
    let parameters: Vec<&str> = vehicle.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let hour = |hour: &Option<Value>| match hour {
        Some(Value::String(text)) => sanitized(text),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    Ok(vec![
        sanitized(&vehicle.name),
        hour(&vehicle.first_hour),
        hour(&vehicle.last_hour),
        sanitized(&parameters.join(", ")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_the_list_is_told() {
        let text = |age_seconds, ready| describe(&CatalogState { age_seconds, ready });
        assert_eq!(text(Some(12), true), "list of vehicles as of 12 s ago");
        assert!(text(Some(600), false).starts_with("warning: the list was last refreshed 10 min 0 s ago"));
        assert!(text(None, false).starts_with("warning: the list of vehicles was not made yet"));
    }
}
