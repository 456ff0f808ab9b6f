//! `exports vehicles`: what there is to be exported.

use serde::Deserialize;
use serde_json::Value;

use crate::client::{ApiArgs, EXIT_CODES, Patience, out, shown};
use crate::pages::{Page, Pages};
use crate::table::Table;

/// Settings of `exports vehicles`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Vehicles {
    /// Only those whose names have this text in them
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// A line of JSON for each vehicle, as the API has it
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
    #[serde(default)]
    first_hour: Option<Value>,
    #[serde(default)]
    last_hour: Option<Value>,
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Debug, Deserialize)]
struct Parameter {
    name: String,
}

impl Vehicles {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = self.api.client(Patience::Short)?;
        let search = self.search.iter().map(|text| ("search", text.clone())).collect();
        let mut pages = Pages::new(&["vehicles"], search, None);
        let mut table = Table::new(&["VEHICLE", "FIRST HOUR", "LAST HOUR", "PARAMETERS"]);
        while let Some(page) = pages.next(&client, |page: Page| page.vehicles).await? {
            for json in page {
                if self.json {
                    out(&json.to_string())?;
                } else {
                    table.add(row(&Vehicle::deserialize(&json)?));
                }
            }
            for line in table.lines() {
                out(&line)?;
            }
        }
        if table.is_empty() && !self.json {
            client.console.tell("there are no such vehicles");
        }
        Ok(())
    }
}

fn row(vehicle: &Vehicle) -> Vec<String> {
    let parameters: Vec<&str> = vehicle.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let hour = |hour: &Option<Value>| match hour {
        Some(Value::String(text)) => shown(text),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    vec![
        shown(&vehicle.name),
        hour(&vehicle.first_hour),
        hour(&vehicle.last_hour),
        shown(&parameters.join(", ")),
    ]
}
