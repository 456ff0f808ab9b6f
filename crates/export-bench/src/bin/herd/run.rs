//! Shared by all scenarios: their own services, a fleet, and the flags.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use export_bench::own::Own;
use mongodb::Client;
use mongodb::options::ClientOptions;

use crate::fleet::Fleet;
use crate::requests::{LEAST_DAYS, LEAST_VEHICLES};
use crate::{APP_NAME, Arguments};

/// Longest duration of a burst: many times what it takes with unoptimized programs.
pub(crate) const ALL_ENDED: Duration = Duration::from_mins(30);

/// The input of a scenario.
pub(crate) struct Run {
    pub(crate) own: Own,
    pub(crate) client: Client,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) logs: PathBuf,
    pub(crate) arguments: Arguments,
}

impl Run {
    /// Provisions, and writes the fleet.
    pub(crate) async fn prepare(arguments: Arguments) -> anyhow::Result<Self> {
        ensure!(
            arguments.vehicles >= LEAST_VEHICLES && arguments.days >= LEAST_DAYS,
            "at least {LEAST_VEHICLES} vehicles and {LEAST_DAYS} days: so much is asked for"
        );
        ensure!(arguments.tenants > 0 && arguments.exports >= arguments.tenants, "an export for each tenant");
        let own = Own::provision(&arguments.programs, "cargo xtask herd", "herd").await?;
        let mut options = ClientOptions::parse(&own.mongodb_uri).await.context("MongoDB")?;
        options.app_name = Some(APP_NAME.to_owned());
        let client = Client::with_options(options).context("MongoDB")?;
        let fleet = Fleet::write(&client, &own.vehicle_prefix, arguments.vehicles, arguments.days).await?;
        eprintln!("{} hour documents of {} vehicles are written", fleet.documents.len(), arguments.vehicles);
        let logs = arguments.logs.clone();
        Ok(Self { own, client, fleet: Arc::new(fleet), logs, arguments })
    }

    /// Removes everything written to the databases; logs are kept.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
        self.fleet.remove(&self.client).await?;
        self.client.database(&self.own.name).drop().await?;
        Ok(())
    }
}
