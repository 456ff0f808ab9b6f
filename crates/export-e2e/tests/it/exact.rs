//! Results equal those of the reference exporter, byte for byte.

use std::io::Cursor;

use export_e2e::Stack;
use export_testkit::oddities::{OddFleet, near_1970, one_day};
use export_testkit::reference::{ReferenceRequest, export_database};
use export_testkit::verify::compare;
use serde_json::{Value, json};

/// Exports a request, downloads the zip by its link and compares it with the reference export of
/// the same databases.
pub(crate) async fn exported_like_the_reference(
    stack: &Stack,
    body: &Value,
    request: &ReferenceRequest,
) -> Value {
    let job_id = stack.accepted(body).await;
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!(job["state"], "FINISHED", "{job:#}");

    let archive = stack.download(&job_id).await;
    assert_eq!(job["stats"]["bytes"], archive.len(), "{job:#}");
    let reference = export_database(&stack.space.mongodb, &stack.space.vehicle_prefix, request).await;
    let reference = reference.expect("the reference export");
    assert!(reference.vehicles.iter().all(export_testkit::reference::ReferenceVehicle::reconciles));
    if let Err(differences) = compare(Cursor::new(archive), request, &reference) {
        panic!("the archive is not the reference's: {differences}");
    }
    let rows: u64 = reference.vehicles.iter().map(|vehicle| vehicle.rows).sum();
    assert_eq!(job["stats"]["rows"], rows, "{job:#}");
    job
}

async fn odd_fleet_is_exact(fleet: OddFleet) {
    let stack = Stack::start().await;
    stack.space.insert_fleet(&fleet).await;
    let body = json!({ "startDate": fleet.start_date, "endDate": fleet.end_date });
    let request =
        ReferenceRequest { from_ms: fleet.from_ms, to_ms: fleet.to_ms, ..ReferenceRequest::default() };
    let job = exported_like_the_reference(&stack, &body, &request).await;

    // Engine and reference may share their authors' mistakes; these files were written by hand.
    let archive = stack.download(job["_id"].as_str().expect("an id")).await;
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).expect("a zip");
    for vehicle in &fleet.vehicles {
        let name = format!("{}.csv", stack.space.vehicle(vehicle.suffix));
        let mut entry = zip.by_name(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut csv = String::new();
        std::io::Read::read_to_string(&mut entry, &mut csv).expect("text");
        assert_eq!(csv, vehicle.csv, "{name}");
    }
    stack.stop().await;
}

/// Zeros, negative values, shuffled keys, 5000 ms buckets, `_id` as double and int64, missing
/// `levels`, missing collections, an empty vehicle, and data that cannot be decoded.
#[tokio::test(flavor = "multi_thread")]
async fn every_oddity_of_one_day() {
    odd_fleet_is_exact(one_day()).await;
}

/// `_id` as int32, which only holds times near 1970.
#[tokio::test(flavor = "multi_thread")]
async fn ids_as_int32() {
    odd_fleet_is_exact(near_1970()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicles_and_parameters_as_chosen() {
    let stack = Stack::start().await;
    let fleet = one_day();
    stack.space.insert_fleet(&fleet).await;
    let vehicles: Vec<String> =
        fleet.vehicles.iter().rev().take(2).map(|vehicle| stack.space.vehicle(vehicle.suffix)).collect();
    // The last parameter has no document.
    let parameters = vec!["odo".to_owned(), "soc".to_owned(), "of_nothing".to_owned()];
    stack.space.insert_hours(fleet.vehicles[0].suffix, "of_nothing", Vec::new()).await;
    stack.space.insert_hours(fleet.vehicles[fleet.vehicles.len() - 1].suffix, "of_nothing", Vec::new()).await;
    stack.until_catalogued(&vehicles).await;
    let body = json!({
        "startDate": fleet.start_date, "endDate": fleet.end_date, "vehicles": vehicles, "parameters": parameters
    });
    let request = ReferenceRequest {
        from_ms: fleet.from_ms,
        to_ms: fleet.to_ms,
        vehicles: Some(vehicles),
        parameters: Some(parameters),
        ..ReferenceRequest::default()
    };
    exported_like_the_reference(&stack, &body, &request).await;
    stack.stop().await;
}

/// A range that begins and ends inside hours, given as instants; points at its start are included,
/// points at its end are not.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_cut_hours() {
    let stack = Stack::start().await;
    let fleet = one_day();
    stack.space.insert_fleet(&fleet).await;
    let first_ms = 1_543_536_000_000 + 1_000;
    let body = json!({ "startDate": "2018-11-30T00:00:01Z", "endDate": "2018-11-30T01:30:00.500Z" });
    let request = ReferenceRequest {
        from_ms: first_ms,
        to_ms: 1_543_536_000_000 + 5_400_500,
        ..ReferenceRequest::default()
    };
    exported_like_the_reference(&stack, &body, &request).await;
    stack.stop().await;
}

/// No vehicle at all: an archive with a manifest only.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_fleet() {
    let stack = Stack::start().await;
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    let request = ReferenceRequest {
        from_ms: 1_543_536_000_000,
        to_ms: 1_543_622_400_000,
        ..ReferenceRequest::default()
    };
    let job = exported_like_the_reference(&stack, &body, &request).await;
    assert_eq!(job["stats"]["rows"], 0);
    stack.stop().await;
}
