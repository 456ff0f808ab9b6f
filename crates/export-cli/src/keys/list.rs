//! `exports keys list`.

use chrono::{DateTime, Utc};
use export_core::Tenant;
use export_core::key::StoredKey;
use export_settings::mongo::MongoArgs;
use serde_json::{Value, json};

use super::{Store, patterns, scopes, time};

/// Settings of `exports keys list`.
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
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let store = Store::open(&self.mongo).await?;
        let keys = store.keys.list(self.tenant.as_ref()).await?;
        let now = Utc::now();
        if self.json {
            let keys: Vec<Value> = keys.iter().map(|key| json(key, now)).collect();
            println!("{}", serde_json::to_string_pretty(&keys)?);
            return Ok(());
        }
        if keys.is_empty() {
            eprintln!("there are no keys; `exports keys create --tenant <name>` makes one");
            return Ok(());
        }
        let mut rows = vec![
            ["ID", "TENANT", "STATE", "SCOPES", "VEHICLES", "CREATED", "EXPIRES", "NAME"].map(str::to_owned),
        ];
        rows.extend(keys.iter().map(|key| row(key, now)));
        print!("{}", table(&rows));
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
        "vehicles": patterns(key), "createdAt": time(key.created_at),
        "expiresAt": key.expires_at.map(time), "revokedAt": key.revoked_at.map(time),
    })
}

fn row(key: &StoredKey, now: DateTime<Utc>) -> [String; 8] {
    [
        key.id.to_string(),
        key.tenant.to_string(),
        state(key, now).to_owned(),
        scopes(key),
        patterns(key).map_or_else(|| "all".to_owned(), |patterns| patterns.join(" ")),
        time(key.created_at),
        key.expires_at.map_or_else(|| "never".to_owned(), time),
        key.name.as_str().to_owned(),
    ]
}

/// Columns as wide as their widest text, two blanks between them.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}  "));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [["ID", "NAME"], ["vxk_1", ""], ["x", "für die Flotte"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "ID     NAME\nvxk_1\nx      für die Flotte\n");
    }
}
