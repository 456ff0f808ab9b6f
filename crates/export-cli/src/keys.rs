//! `exports keys`: makes, lists and revokes the keys of the API, in MongoDB and as its administrator.

mod create;
mod list;
mod revoke;

use chrono::{DateTime, SecondsFormat, Utc};
use export_core::access::{AllowedVehicles, VehiclePattern};
use export_core::key::{KeyId, StoredKey};
use export_settings::mongo::MongoArgs;
use export_store::{AuditAction, AuditEntry, AuditLog, KeyStore};

/// Make, list and revoke keys of the API
#[derive(Debug, clap::Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key and print it, once: only a hash of it is kept
    Create(create::Create),
    /// List keys, newest first, without their secrets
    List(list::List),
    /// End a key; the API refuses it from half a minute later on at the latest
    Revoke(revoke::Revoke),
}

impl Keys {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Create(create) => create.run().await,
            Command::List(list) => list.run().await,
            Command::Revoke(revoke) => revoke.run().await,
        }
    }
}

/// The keys, and the log of what is done to them.
struct Store {
    keys: KeyStore,
    audit: AuditLog,
}

impl Store {
    async fn open(args: &MongoArgs) -> anyhow::Result<Self> {
        let settings = args.resolve()?;
        let client = export_store::connect(&settings.uri, "exports keys").await?;
        Ok(Self {
            keys: KeyStore::new(&client, &settings.jobs_database),
            audit: AuditLog::start(&client, &settings.jobs_database),
        })
    }
}

/// What the command line did to a key.
fn audit_entry(
    action: AuditAction,
    id: &KeyId,
    tenant: &export_core::Tenant,
    outcome: &'static str,
) -> AuditEntry {
    AuditEntry {
        at: Utc::now(),
        tenant: tenant.clone(),
        principal: "cli".to_owned(),
        action,
        job_id: None,
        object: None,
        key_id: Some(id.clone()),
        request_id: None,
        remote_address: None,
        outcome,
    }
}

/// What a key may do, with blanks between.
fn scopes(key: &StoredKey) -> String {
    let names: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    names.join(" ")
}

/// The patterns of a key's vehicles; none where it may see all.
fn patterns(key: &StoredKey) -> Option<Vec<&str>> {
    match &key.vehicles {
        AllowedVehicles::All => None,
        AllowedVehicles::Like(patterns) => Some(patterns.iter().map(VehiclePattern::as_str).collect()),
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
