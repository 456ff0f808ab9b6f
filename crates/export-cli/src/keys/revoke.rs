//! `exports keys revoke`.

use anyhow::{Context, bail};
use export_core::key::{ApiKey, KeyError, KeyId};
use export_settings::mongo::MongoArgs;
use export_store::AuditAction;

use super::{Store, audit_entry};
use crate::failure::UsageError;

/// Settings of `exports keys revoke`.
#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    /// The key's id, as `exports keys list` shows it: vxk_ and 16 hexadecimal digits
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    mongo: MongoArgs,
}

impl Revoke {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let id = parse_id(&self.id).map_err(|error| UsageError(format!("ID: {error}")))?;
        let store = Store::open(&self.mongo).await?;
        let Some(revoked) = store.keys.revoke(&id).await? else {
            bail!("there is no key {id}; `exports keys list` shows those that there are");
        };
        println!("key {} of tenant {} is revoked", revoked.id, revoked.tenant);
        eprintln!("The API refuses it from half a minute from now on at the latest.");
        let entry = audit_entry(AuditAction::KeyRevoke, &revoked.id, &revoked.tenant, "revoked");
        store.audit.write(&entry).await.context("the key is revoked, but that is not in the audit log")
    }
}

/// Takes a whole key as well: whoever finds one that has leaked has no more than that. Not left to the parser of the command line,
/// which repeats what it cannot read.
fn parse_id(text: &str) -> Result<KeyId, KeyError> {
    text.parse().or_else(|error| text.parse::<ApiKey>().map(|key| key.id().clone()).map_err(|_| error))
}
