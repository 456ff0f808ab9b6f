//! How many jobs may wait, and how large one may be.

use std::num::NonZeroU32;

use export_core::admission::SizeLimits;
use export_settings::{SettingError, parsed_or};

/// Most days of a range of years 1 to 9999: what says more, says nothing.
const MOST_DAYS: u32 = 3_652_059;
/// Beyond what one machine serves; keeps a slip of the pen from overflowing anything.
const MOST: u32 = 1_000_000;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Admission")]
pub(super) struct AdmissionArgs {
    /// Jobs of one tenant that no worker has yet; more get 429 [default: 1000]
    #[arg(long, env = "MAX_QUEUED_PER_TENANT", value_name = "COUNT")]
    max_queued_per_tenant: Option<String>,
    /// The same of all tenants; at least as many [default: 10000]
    #[arg(long, env = "MAX_QUEUED", value_name = "COUNT")]
    max_queued: Option<String>,
    /// Days of an export's range; more get 422 [default: 366]
    #[arg(long, env = "MAX_RANGE_DAYS", value_name = "DAYS")]
    max_range_days: Option<String>,
    /// Vehicles of an export; more get 422 [default: 1000]
    #[arg(long, env = "MAX_VEHICLES_PER_EXPORT", value_name = "COUNT")]
    max_vehicles_per_export: Option<String>,
    /// Vehicles times days up to which an export comes before its tenant's larger ones [default: 7]
    #[arg(long, env = "INTERACTIVE_VEHICLE_DAYS", value_name = "COUNT")]
    interactive_vehicle_days: Option<String>,
}

/// How many jobs may wait, and how large one may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionSettings {
    /// Jobs of one tenant that no worker has yet.
    pub max_queued_per_tenant: NonZeroU32,
    /// The same of all tenants.
    pub max_queued: NonZeroU32,
    /// How large an export may be.
    pub size: SizeLimits,
}

impl AdmissionSettings {
    /// What holds unless set otherwise.
    pub const DEFAULT: Self = Self {
        max_queued_per_tenant: NonZeroU32::new(1_000).expect("not zero"),
        max_queued: NonZeroU32::new(10_000).expect("not zero"),
        size: SizeLimits { max_range_days: 366, max_vehicles: 1_000, interactive_vehicle_days: 7 },
    };

    /// What no test of anything else comes near.
    pub const WIDEST: Self = Self {
        max_queued_per_tenant: NonZeroU32::new(MOST).expect("not zero"),
        max_queued: NonZeroU32::new(MOST).expect("not zero"),
        size: SizeLimits { max_range_days: MOST_DAYS, max_vehicles: MOST, interactive_vehicle_days: 7 },
    };
}

impl AdmissionArgs {
    pub(super) fn resolve(&self) -> Result<AdmissionSettings, SettingError> {
        let default = AdmissionSettings::DEFAULT;
        let settings = AdmissionSettings {
            max_queued_per_tenant: count(
                "MAX_QUEUED_PER_TENANT",
                self.max_queued_per_tenant.as_ref(),
                default.max_queued_per_tenant,
            )?,
            max_queued: count("MAX_QUEUED", self.max_queued.as_ref(), default.max_queued)?,
            size: SizeLimits {
                max_range_days: number(
                    "MAX_RANGE_DAYS",
                    self.max_range_days.as_ref(),
                    default.size.max_range_days,
                    MOST_DAYS,
                    "a number of days from 1 to 3652059",
                )?,
                max_vehicles: number(
                    "MAX_VEHICLES_PER_EXPORT",
                    self.max_vehicles_per_export.as_ref(),
                    default.size.max_vehicles,
                    MOST,
                    UP_TO_MOST,
                )?,
                interactive_vehicle_days: number(
                    "INTERACTIVE_VEHICLE_DAYS",
                    self.interactive_vehicle_days.as_ref(),
                    default.size.interactive_vehicle_days,
                    MOST,
                    UP_TO_MOST,
                )?,
            },
        };
        if settings.max_queued < settings.max_queued_per_tenant {
            let expected =
                "at least as many as MAX_QUEUED_PER_TENANT, or one tenant could never have its own";
            return Err(SettingError::Wrong { name: "MAX_QUEUED", expected });
        }
        Ok(settings)
    }
}

const UP_TO_MOST: &str = "a number from 1 to 1000000";

fn count(
    name: &'static str,
    value: Option<&String>,
    default: NonZeroU32,
) -> Result<NonZeroU32, SettingError> {
    let given = number(name, value, default.get(), MOST, UP_TO_MOST)?;
    NonZeroU32::new(given).ok_or(SettingError::Wrong { name, expected: UP_TO_MOST })
}

fn number(
    name: &'static str,
    value: Option<&String>,
    default: u32,
    most: u32,
    expected: &'static str,
) -> Result<u32, SettingError> {
    let given = parsed_or(name, value, default, expected)?;
    if (1..=most).contains(&given) { Ok(given) } else { Err(SettingError::Wrong { name, expected }) }
}
