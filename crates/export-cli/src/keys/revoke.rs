//! `exports keys revoke`.

use anyhow::{Context, bail};
use export_core::key::{ApiKey, KeyError, KeyId};
use export_settings::mongo::MongoArgs;
use export_settings::print::{Output, note};
use export_store::AuditAction;

use super::Store;
use crate::audit;
use crate::failure::UsageError;

/// Arguments of `exports keys revoke`.
#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    /// Id of the key, as in `exports keys list`: vxk_ and 16 hexadecimal digits
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    mongo: MongoArgs,
}

impl Revoke {
    pub(super) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let id = parse_id(&self.id).map_err(|error| UsageError(format!("ID: {error}")))?;
        let store = Store::open(&self.mongo).await?;
        let Some(revoked) = store.keys.revoke(&id).await? else {
            bail!("there is no key {id}; `exports keys list` lists all keys");
        };
        output.line(&format!("key {} of tenant {} is revoked", revoked.id, revoked.tenant));
        note("It stops working within 30 seconds.");
        let entry = audit::entry(AuditAction::KeyRevoke, &revoked.tenant, Some(&revoked.id), "revoked");
        store.audit.write(&entry).await.context("the key is revoked, but the audit log has no entry of it")
    }
}

/// Accepts a whole key too, since a leaked key may be all that the user has. The argument parser
/// does not parse the id, because its errors would repeat the key.
fn parse_id(text: &str) -> Result<KeyId, KeyError> {
    text.parse().or_else(|error| text.parse::<ApiKey>().map(|key| key.id().clone()).map_err(|_| error))
}
