//! What follows from a manifest: the summary of its coverage, and its warnings.

use std::collections::BTreeMap;

use super::{Manifest, VehicleManifest};
use crate::coverage::{CoverageSummary, VehicleCoverage, WorstParameter, WorstVehicle};
use crate::warnings::{Warning, WarningCode, Warnings};

impl Manifest {
    /// The summary of its coverage; `None` for manifests of earlier versions, without coverage.
    pub fn coverage_summary(&self) -> Option<CoverageSummary> {
        let covered = || {
            self.vehicles.iter().filter_map(|vehicle| Some((&vehicle.vehicle, vehicle.coverage.as_ref()?)))
        };
        let parameters = covered().flat_map(|(vehicle, coverage)| {
            coverage.parameters.iter().map(move |(name, hours)| (vehicle, name, hours))
        });
        let worst_vehicle = covered().min_by_key(|(_, coverage)| coverage.hours.hours_with_data);
        let worst_parameter = parameters.min_by_key(|(_, _, hours)| hours.hours_with_data);
        Some(CoverageSummary {
            totals: self.totals.coverage?,
            worst_vehicle: worst_vehicle.map(|(vehicle, VehicleCoverage { hours, .. })| WorstVehicle {
                vehicle: vehicle.clone(),
                hours_asked: hours.hours_asked,
                hours_with_data: hours.hours_with_data,
                percent: hours.percent,
                longest_gap: hours.gaps.first().copied(),
            }),
            worst_parameter: worst_parameter.map(|(vehicle, parameter, hours)| WorstParameter {
                vehicle: vehicle.clone(),
                parameter: parameter.clone(),
                hours_asked: hours.hours_asked,
                hours_with_data: hours.hours_with_data,
                percent: hours.percent,
            }),
        })
    }

    /// The warnings about a result: about the whole, then about parameters, then about vehicles.
    pub fn find_warnings(&self) -> Warnings {
        let Self { request, vehicles, .. } = self;
        if vehicles.is_empty() {
            return [Warning::no_vehicle()].into_iter().collect();
        }
        let mut warnings = Warnings::default();
        let any_has_data = vehicles.iter().any(has_data);
        if !any_has_data {
            let cause = cause(vehicles.iter().any(has_rejected));
            let message = format!("no vehicle has a value in the range{cause}");
            warnings.extend([Warning::new(WarningCode::NoPoints, message)]);
        }
        let mut missing_of: BTreeMap<&str, usize> = BTreeMap::new();
        for name in vehicles.iter().flat_map(|vehicle| &vehicle.missing_collections) {
            *missing_of.entry(name).or_default() += 1;
        }
        let is_missing = |name: &&String| missing_of.get(name.as_str()) == Some(&vehicles.len());
        warnings.extend(request.parameters.iter().filter(is_missing).map(|name| Warning {
            parameter: Some(name.clone()),
            ..Warning::new(WarningCode::NoParameterFound, format!("no vehicle has the parameter {name}"))
        }));
        let lacks_all =
            |vehicle: &VehicleManifest| vehicle.missing_collections.len() == request.parameters.len();
        let all_lack_all = vehicles.iter().all(lacks_all);
        warnings.extend(vehicles.iter().filter_map(|vehicle| {
            let name = &vehicle.vehicle;
            let warning = if lacks_all(vehicle) && !all_lack_all {
                let message = format!("{name} has none of the parameters");
                Warning::new(WarningCode::NoParameterFound, message)
            } else if any_has_data && !has_data(vehicle) {
                let cause = cause(has_rejected(vehicle));
                Warning::new(WarningCode::NoPoints, format!("{name} has no value in the range{cause}"))
            } else {
                return None;
            };
            Some(warning.of_vehicle(name))
        }));
        warnings
    }
}

/// Whether the vehicle has a value in the range. True for manifests of earlier versions.
fn has_data(vehicle: &VehicleManifest) -> bool {
    vehicle.coverage.as_ref().is_none_or(|coverage| coverage.hours.hours_with_data > 0)
}

fn has_rejected(vehicle: &VehicleManifest) -> bool {
    !(vehicle.rejected_points.is_empty()
        && vehicle.rejected_buckets.is_empty()
        && vehicle.rejected_documents.is_empty())
}

/// The end of a sentence about missing values.
fn cause(has_rejected: bool) -> &'static str {
    if has_rejected { "; the manifest says what was found and rejected" } else { "" }
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
