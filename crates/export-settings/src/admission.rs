//! How many jobs may wait, how large an export may be, and how much a tenant may store.

use std::num::{NonZeroU32, NonZeroU64};

use export_core::admission::SizeLimits;

use crate::parser::{count, number, number_of};
use crate::results::ResultRowsSettings;
use crate::value::SettingError;

/// Days from year 1 to year 9999: all that a range can name.
const MAX_DAYS: u64 = 3_652_059;
/// More than one machine serves; the bound only keeps a typing error from overflowing anything.
const MAX: u64 = 1_000_000;

/// How many jobs may wait, and how large an export may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Admission")]
pub struct AdmissionSettings {
    /// Most waiting jobs of one tenant, that is, jobs that no worker has claimed yet; more are
    /// answered with 429
    #[arg(long, env, value_name = "COUNT", default_value = "1000", value_parser = count(MAX))]
    pub max_queued_per_tenant: NonZeroU32,
    /// Most waiting jobs of all tenants, at least `MAX_QUEUED_PER_TENANT`; more are answered with
    /// 429
    #[arg(long, env, value_name = "COUNT", default_value = "10000", value_parser = count(MAX))]
    pub max_queued: NonZeroU32,
    // Thirty times what the database is sized for in SETUP.md, for one tenant alone.
    /// Rate limit: most exports that one tenant may create per hour on average, and in a burst after
    /// a pause; more are answered with 429. Exports that share a result count too, as each is
    /// stored
    #[arg(long, env, value_name = "COUNT", default_value = "10000", value_parser = count(MAX))]
    pub max_jobs_per_hour_per_tenant: NonZeroU32,
    /// Quota of stored bytes: a tenant whose results that have not expired take as many bytes, such
    /// as `1000000000000`, may create no more exports until some have expired; they are answered
    /// with 422. Exports that were accepted before are not affected. Without it, no limit
    #[arg(long, env, value_name = "BYTES", value_parser = number_of::<NonZeroU64>("bytes", 1..=u64::MAX))]
    pub max_stored_bytes_per_tenant: Option<NonZeroU64>,
    /// How large an export may be.
    #[command(flatten)]
    pub size: SizeSettings,
}

/// How large an export may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct SizeSettings {
    /// Most days of an export's range; more are answered with 422
    #[arg(
        long,
        env,
        value_name = "DAYS",
        default_value = "366",
        value_parser = number_of::<u32>("days", 1..=MAX_DAYS)
    )]
    pub max_range_days: u32,
    /// Most vehicles of an export; more are answered with 422
    #[arg(long, env, value_name = "COUNT", default_value = "1000", value_parser = number::<u32>(1..=MAX))]
    pub max_vehicles_per_export: u32,
    /// Largest export, in vehicles times days, that is `interactive` and so runs before its
    /// tenant's larger ones (`bulk`). A million rows count as a vehicle-day, if that makes more
    #[arg(long, env, value_name = "COUNT", default_value = "7", value_parser = number::<u32>(1..=MAX))]
    pub interactive_vehicle_days: u32,
    /// The most rows.
    #[command(flatten)]
    pub rows: ResultRowsSettings,
}

impl AdmissionSettings {
    /// Fails where the limit of all tenants is below that of one.
    pub fn check(&self) -> Result<(), SettingError> {
        if self.max_queued < self.max_queued_per_tenant {
            let expected =
                "at least as many as MAX_QUEUED_PER_TENANT, or one tenant could never have its own";
            return Err(SettingError::Wrong { name: "MAX_QUEUED", expected });
        }
        Ok(())
    }
}

impl From<SizeSettings> for SizeLimits {
    fn from(settings: SizeSettings) -> Self {
        let SizeSettings { max_range_days, max_vehicles_per_export, interactive_vehicle_days, rows } =
            settings;
        let (max_vehicles, max_rows) = (max_vehicles_per_export, rows.max_result_rows.get());
        Self { max_range_days, max_vehicles, interactive_vehicle_days, max_rows }
    }
}
