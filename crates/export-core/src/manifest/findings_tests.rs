use serde_json::json;

use super::*;
use crate::coverage::{CoverageTotals, Gap, HourCoverage, Percent};
use crate::manifest::{Rejections, ResolvedRequest};
use crate::range::HOUR_MS;
use crate::warnings::MAX_WARNINGS;

fn hours(with_data: u64, gaps: Vec<Gap>) -> HourCoverage {
    HourCoverage {
        hours_asked: 24,
        hours_with_data: with_data,
        percent: Percent::of(with_data, 24),
        gaps,
        ..HourCoverage::default()
    }
}

fn covered(name: &str, with_data: u64, parameters: &[(&str, u64)]) -> VehicleManifest {
    let gap = Gap { from_ms: 8 * HOUR_MS, to_ms: 18 * HOUR_MS, hours: 10 };
    let parameters = parameters.iter().map(|(name, count)| ((*name).to_owned(), hours(*count, Vec::new())));
    let coverage = VehicleCoverage { hours: hours(with_data, vec![gap]), parameters: parameters.collect() };
    VehicleManifest { vehicle: name.to_owned(), coverage: Some(coverage), ..VehicleManifest::default() }
}

#[test]
fn a_summary_names_the_worst() {
    let vehicles = vec![
        covered("a", 24, &[("odo", 24), ("soc", 23)]),
        covered("b", 14, &[("odo", 14), ("soc", 2)]),
        covered("c", 14, &[("odo", 2), ("soc", 2)]),
    ];
    let mut manifest = Manifest::default();
    manifest.totals.coverage =
        Some(CoverageTotals::of(vehicles.iter().filter_map(|vehicle| vehicle.coverage.as_ref())));
    manifest.vehicles = vehicles;
    let summary = manifest.coverage_summary().expect("a summary");
    let expected = json!({
        "hoursAsked": 72, "hoursWithData": 52, "percent": 72.2,
        "worstVehicle": {
            "vehicle": "b", "hoursAsked": 24, "hoursWithData": 14, "percent": 58.3,
            "longestGap": { "from": "1970-01-01T08:00:00Z", "to": "1970-01-01T18:00:00Z", "hours": 10 },
        },
        "worstParameter": {
            "vehicle": "b", "parameter": "soc", "hoursAsked": 24, "hoursWithData": 2, "percent": 8.3,
        },
    });
    assert_eq!(serde_json::to_value(&summary).expect("JSON"), expected);
    assert_eq!(serde_json::from_value::<CoverageSummary>(expected).expect("a summary"), summary);

    manifest.totals.coverage = None;
    assert_eq!(manifest.coverage_summary(), None, "a manifest of an earlier version");
}

fn vehicle(name: &str, hours_with_data: u64, missing: &[&str]) -> VehicleManifest {
    let hours = HourCoverage { hours_asked: 24, hours_with_data, ..HourCoverage::default() };
    VehicleManifest {
        vehicle: name.to_owned(),
        coverage: Some(VehicleCoverage { hours, ..VehicleCoverage::default() }),
        missing_collections: missing.iter().map(|name| (*name).to_owned()).collect(),
        ..VehicleManifest::default()
    }
}

/// The warnings as `code: message`, of an export of these parameters.
fn texts(parameters: &[&str], vehicles: Vec<VehicleManifest>) -> Vec<String> {
    let parameters = parameters.iter().map(|name| (*name).to_owned()).collect();
    let request = ResolvedRequest { parameters, ..ResolvedRequest::default() };
    let found = Manifest { request, vehicles, ..Manifest::default() }.find_warnings();
    found.list.iter().map(|warning| format!("{}: {}", warning.code, warning.message)).collect()
}

#[test]
fn a_complete_result_has_no_warning() {
    assert!(texts(&["soc", "odo"], vec![vehicle("a", 24, &[]), vehicle("b", 1, &["odo"])]).is_empty());
}

#[test]
fn an_empty_result_has_a_warning() {
    let no_vehicle =
        "no_vehicle_allowed: the export has no vehicle: there is none that the request and the key allow";
    assert_eq!(texts(&["soc"], Vec::new()), [no_vehicle]);
    let no_points = "no_points: no vehicle has a value in the range";
    assert_eq!(texts(&["soc"], vec![vehicle("a", 0, &[]), vehicle("b", 0, &[])]), [no_points]);
    assert_eq!(texts(&[], vec![vehicle("a", 0, &[])]), [no_points], "no vehicle has a parameter");
    let mut rejected = vehicle("b", 0, &[]);
    rejected.rejected_points.insert("invalidKey".to_owned(), Rejections::default());
    let rejected = texts(&["soc"], vec![vehicle("a", 0, &[]), rejected]);
    assert_eq!(rejected, [format!("{no_points}; the manifest says what was found and rejected")]);
}

#[test]
fn vehicles_and_parameters_are_named() {
    let vehicles =
        vec![vehicle("a", 24, &["spede"]), vehicle("b", 0, &["soc", "spede"]), vehicle("c", 0, &["spede"])];
    assert_eq!(
        texts(&["soc", "spede"], vehicles),
        [
            "no_parameter_found: no vehicle has the parameter spede",
            "no_parameter_found: b has none of the parameters",
            "no_points: c has no value in the range",
        ]
    );
    // That every vehicle lacks all parameters follows from the parameters.
    assert_eq!(
        texts(&["spede"], vec![vehicle("a", 0, &["spede"]), vehicle("b", 0, &["spede"])]),
        [
            "no_points: no vehicle has a value in the range",
            "no_parameter_found: no vehicle has the parameter spede"
        ]
    );
}

#[test]
fn the_number_of_warnings_is_bounded() {
    let silent = (0..30).map(|number| vehicle(&format!("v{number:02}"), 0, &[]));
    let vehicles = [vehicle("a", 1, &[])].into_iter().chain(silent).collect();
    let manifest = Manifest { vehicles, ..Manifest::default() };
    let request = ResolvedRequest { parameters: vec!["soc".to_owned()], ..ResolvedRequest::default() };
    let found = Manifest { request, ..manifest }.find_warnings();
    assert_eq!((found.list.len(), found.more), (MAX_WARNINGS, 10));
    assert_eq!(found.list[19].vehicle.as_deref(), Some("v19"));
}
