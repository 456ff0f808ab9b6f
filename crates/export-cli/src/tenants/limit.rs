//! `exports tenants limit`.

use anyhow::Context;
use export_core::Tenant;
use export_core::access::MAX_CEILING_PATTERNS;
use export_settings::mongo::MongoArgs;
use export_settings::print::{Output, note};
use export_store::{AuditAction, AuditLog, TenantStore};

use crate::audit;
use crate::vehicle_args::{VehicleArgs, described};

/// Arguments of `exports tenants limit`.
#[derive(Debug, clap::Args)]
pub(super) struct Limit {
    /// Tenant: 1 to 63 of a-z, 0-9, - and _
    #[arg(value_name = "TENANT")]
    tenant: Tenant,
    #[command(flatten)]
    vehicles: VehicleArgs,
    #[command(flatten)]
    mongo: MongoArgs,
}

impl Limit {
    pub(super) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let vehicles = self.vehicles.resolve("the tenant", MAX_CEILING_PATTERNS)?;
        let settings = self.mongo.resolve()?;
        let client = export_store::connect(&settings.uri, "exports tenants").await?;
        let tenants = TenantStore::new(&client, &settings.jobs_database);
        let log = AuditLog::start(&client, &settings.jobs_database);
        // Written before the change, so that every change has an audit entry.
        let entry = audit::entry(AuditAction::TenantLimit, &self.tenant, None, "about to be set");
        log.write(&entry).await.context("nothing was changed")?;
        let set = tenants.set_ceiling(&self.tenant, &vehicles).await.context("nothing was changed")?;
        output.line(&format!("tenant {} may see: {}", set.tenant, described(&set.vehicles)));
        note(
            "It takes effect within 30 seconds. Exports that were accepted before still run; their results can be downloaded only by callers that may see all of their vehicles.",
        );
        Ok(())
    }
}
