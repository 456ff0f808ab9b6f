//! `exports keys list`.

use chrono::{DateTime, Utc};
use export_core::Tenant;
use export_core::key::StoredKey;
use export_settings::mongo::MongoArgs;
use export_settings::print::{Output, note};
use serde_json::{Value, json};

use super::{Store, scopes, time};
use crate::table::Table;
use crate::vehicle_args::{described, patterns};

/// Flags of `exports keys list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only keys of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mongo: MongoArgs,
}

impl List {
    pub(super) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let store = Store::open(&self.mongo).await?;
        let keys = store.keys.list(self.tenant.as_ref()).await?;
        let now = Utc::now();
        if self.json {
            let keys: Vec<Value> = keys.iter().map(|key| json(key, now)).collect();
            output.line(&serde_json::to_string_pretty(&keys)?);
            return Ok(());
        }
        if keys.is_empty() {
            note("no keys found; `exports keys create --tenant <name> --vehicle <pattern>` creates one");
            return Ok(());
        }
        let mut table =
            Table::new(&["ID", "TENANT", "STATE", "SCOPES", "VEHICLES", "CREATED", "EXPIRES", "NAME"]);
        for key in &keys {
            table.add(row(key, now));
        }
        output.line(&table.lines().join("\n"));
        Ok(())
    }
}

fn state(key: &StoredKey, now: DateTime<Utc>) -> &'static str {
    if key.revoked_at.is_some() {
        "revoked"
    } else if key.expires_at.is_some_and(|end| end <= now) {
        "expired"
    } else {
        "active"
    }
}

fn json(key: &StoredKey, now: DateTime<Utc>) -> Value {
    json!({
        "id": key.id, "tenant": key.tenant, "name": key.name, "state": state(key, now), "scopes": key.scopes,
        "vehicles": patterns(&key.vehicles), "createdAt": time(key.created_at),
        "expiresAt": key.expires_at.map(time), "revokedAt": key.revoked_at.map(time),
    })
}

fn row(key: &StoredKey, now: DateTime<Utc>) -> Vec<String> {
    vec![
        key.id.to_string(),
        key.tenant.to_string(),
        state(key, now).to_owned(),
        scopes(key),
        described(&key.vehicles),
        time(key.created_at),
        key.expires_at.map_or_else(|| "never".to_owned(), time),
        key.name.as_str().to_owned(),
    ]
}
