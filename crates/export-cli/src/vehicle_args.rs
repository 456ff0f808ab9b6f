//! Flags that grant access to vehicles. All of them are never granted by leaving a flag out.

use std::str::FromStr;

use export_core::access::{AllowedVehicles, VehiclePattern};
use export_core::names::trimmed;

use crate::failure::UsageError;

/// The vehicles of a key or of a tenant.
#[derive(Debug, clap::Args)]
pub(crate) struct VehicleArgs {
    /// Vehicles, by name or by a pattern such as `vehicle_0*`; repeat the flag or separate them
    /// with commas
    #[arg(long = "vehicle", value_name = "PATTERN", value_delimiter = ',', value_parser = parse_entry::<VehiclePattern>)]
    vehicles: Vec<VehiclePattern>,
    /// All vehicles, now and in the future
    #[arg(long, conflicts_with = "vehicles")]
    all_vehicles: bool,
}

impl VehicleArgs {
    /// The vehicles that are granted to `whom`, such as `the key`.
    pub(crate) fn resolve(self, whom: &str, max: usize) -> Result<AllowedVehicles, UsageError> {
        if self.all_vehicles {
            return Ok(AllowedVehicles::All);
        }
        if self.vehicles.is_empty() {
            return Err(UsageError(format!(
                "--vehicle: say which vehicles {whom} may see, such as --vehicle 'vehicle_0*'; or give --all-vehicles"
            )));
        }
        if self.vehicles.len() > max {
            return Err(UsageError(format!("--vehicle: at most {max} patterns; combine some with *")));
        }
        Ok(AllowedVehicles::Like(self.vehicles))
    }
}

/// An entry of a list; spaces around it are not part of it.
pub(crate) fn parse_entry<T: FromStr>(text: &str) -> Result<T, T::Err> {
    trimmed(text).parse()
}

/// The patterns; `None` for all vehicles.
pub(crate) fn patterns(vehicles: &AllowedVehicles) -> Option<Vec<&str>> {
    match vehicles {
        AllowedVehicles::All => None,
        AllowedVehicles::Like(patterns) => Some(patterns.iter().map(VehiclePattern::as_str).collect()),
    }
}

/// The patterns, separated by spaces.
pub(crate) fn described(vehicles: &AllowedVehicles) -> String {
    patterns(vehicles).map_or_else(|| "all".to_owned(), |patterns| patterns.join(" "))
}
