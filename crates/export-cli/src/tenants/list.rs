//! `exports tenants list`.

use chrono::SecondsFormat;
use export_settings::mongo::MongoArgs;
use export_settings::print::{Output, note};
use export_store::TenantStore;
use serde_json::{Value, json};

use crate::table::Table;
use crate::vehicle_args::{described, patterns};

/// Flags of `exports tenants list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mongo: MongoArgs,
}

impl List {
    pub(super) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let settings = self.mongo.resolve()?;
        let client = export_store::connect(&settings.uri, "exports tenants").await?;
        let tenants = TenantStore::new(&client, &settings.jobs_database).list().await?;
        let time = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        if self.json {
            let tenants: Vec<Value> = tenants
                .iter()
                .map(|one| {
                    json!({ "tenant": one.tenant, "vehicles": patterns(&one.vehicles), "changedAt": time(one.changed_at) })
                })
                .collect();
            output.line(&serde_json::to_string_pretty(&tenants)?);
            return Ok(());
        }
        if tenants.is_empty() {
            note("no tenant has a limit; `exports tenants limit <tenant> --vehicle <pattern>` sets one");
            return Ok(());
        }
        let mut table = Table::new(&["TENANT", "VEHICLES", "CHANGED"]);
        for one in &tenants {
            table.add(vec![one.tenant.to_string(), described(&one.vehicles), time(one.changed_at)]);
        }
        output.line(&table.lines().join("\n"));
        Ok(())
    }
}
