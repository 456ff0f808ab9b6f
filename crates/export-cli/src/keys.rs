//! `exports keys`: creates, lists and revokes API keys, directly in MongoDB and as its
//! administrator.

mod create;
mod list;
mod revoke;

use chrono::{DateTime, SecondsFormat, Utc};
use export_core::key::StoredKey;
use export_settings::mongo::MongoArgs;
use export_settings::print::Output;
use export_store::{AuditLog, KeyStore};

/// Create, list and revoke API keys
#[derive(Debug, clap::Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create a key and print it. It cannot be shown again: only a hash of it is stored
    Create(create::Create),
    /// List keys, newest first, without their secrets
    List(list::List),
    /// Revoke a key: it stops working within 30 seconds
    Revoke(revoke::Revoke),
}

impl Keys {
    pub(crate) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        match self.command {
            Command::Create(create) => create.run(output).await,
            Command::List(list) => list.run(output).await,
            Command::Revoke(revoke) => revoke.run(output).await,
        }
    }
}

/// The stored keys and the audit log.
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

/// The scopes of a key, separated by spaces.
fn scopes(key: &StoredKey) -> String {
    let names: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    names.join(" ")
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
