//! The warnings in the manifest: about the whole export, its parameters and its vehicles.

use serde_json::{Value, json};

use crate::reference::{ReferenceExport, ReferenceVehicle};

/// Warnings in the list; the others are counted.
const MOST: usize = 20;

/// The listed warnings, and the number of the others.
pub(super) fn of(export: &ReferenceExport) -> (Value, usize) {
    let mut all = all(export);
    let more = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    (all.into(), more)
}

fn all(export: &ReferenceExport) -> Vec<Value> {
    let (vehicles, parameters) = (&export.vehicles, &export.parameters);
    if vehicles.is_empty() {
        let message = "the export has no vehicle: there is none that the request and the key allow";
        return vec![json!({ "code": "no_vehicle_allowed", "message": message })];
    }
    let lacks = |vehicle: &ReferenceVehicle, name: &String| vehicle.missing_collections.contains(name);
    let mut found = Vec::new();
    let are_all_silent = vehicles.iter().all(is_silent);
    if are_all_silent {
        let cause = cause(vehicles.iter().any(rejects));
        let message = format!("no vehicle has a value in the range{cause}");
        found.push(json!({ "code": "no_points", "message": message }));
    }
    let unknown: Vec<&String> =
        parameters.iter().filter(|name| vehicles.iter().all(|vehicle| lacks(vehicle, name))).collect();
    for name in &unknown {
        let message = format!("no vehicle has the parameter {name}");
        found.push(json!({ "code": "no_parameter_found", "message": message, "parameter": name }));
    }
    for vehicle in vehicles {
        let name = &vehicle.database;
        let lacks_all = parameters.iter().all(|parameter| lacks(vehicle, parameter));
        if lacks_all && unknown.len() < parameters.len() {
            let message = format!("{name} has none of the parameters");
            found.push(json!({ "code": "no_parameter_found", "message": message, "vehicle": name }));
        } else if is_silent(vehicle) && !are_all_silent {
            let message = format!("{name} has no value in the range{}", cause(rejects(vehicle)));
            found.push(json!({ "code": "no_points", "message": message, "vehicle": name }));
        }
    }
    found
}

fn is_silent(vehicle: &ReferenceVehicle) -> bool {
    vehicle.coverage.hours_with_data == 0
}

fn rejects(vehicle: &ReferenceVehicle) -> bool {
    let containers = [&vehicle.rejected_points, &vehicle.rejected_buckets, &vehicle.rejected_documents];
    containers.iter().any(|reasons| !reasons.is_empty())
}

fn cause(is_rejected: bool) -> &'static str {
    if is_rejected { "; the manifest says what was found and rejected" } else { "" }
}
