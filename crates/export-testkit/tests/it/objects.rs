//! The check of exports without archive: equal results pass, and anything that a reader would fail
//! on is reported.

use std::io::Write;

use export_testkit::hour::HourBuilder;
use export_testkit::reference::{
    ReferenceArchive, ReferenceCompression, ReferenceCoverage, ReferenceExport, ReferenceGap,
    ReferenceOptions, ReferenceRequest, ReferenceSample, ReferenceVehicle, export_documents,
};
use export_testkit::verify::{compare_objects, read_folder};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};

use crate::oracle::vehicle;

/// 2018-11-30T00:00:00Z
const START_MS: i64 = 1_543_536_000_000;

pub(crate) type Objects = Vec<(String, Vec<u8>)>;

fn exported(compression: ReferenceCompression) -> (ReferenceRequest, ReferenceExport) {
    let options = ReferenceOptions {
        archive: ReferenceArchive::None,
        compression,
        guard: false,
        step_ms: Some(2),
        fill_previous: true,
        ..ReferenceOptions::default()
    };
    let request =
        ReferenceRequest { from_ms: START_MS, to_ms: START_MS + 5, options, ..ReferenceRequest::default() };
    let points = [(START_MS, 1), (START_MS + 1, 2)];
    let hour = HourBuilder::new(START_MS).points(points).entry(&["x"], 1).build();
    let vehicles = [vehicle("vehicle_001", &[("soc", vec![hour])]), vehicle("vehicle_002", &[])];
    let export = export_documents(&request, &vehicles);
    (request, export)
}

/// The manifest that the files of an export need; `options` is the part of the request with the
/// output options.
pub(crate) fn manifest(export: &ReferenceExport, options: Value, files: &[&[u8]]) -> Value {
    let mut request = json!({
        "vehicles": export.vehicles.iter().map(|vehicle| &vehicle.database).collect::<Vec<_>>(),
        "parameters": export.parameters, "timezone": "UTC",
        "range": { "from": "2018-11-30T00:00:00Z", "to": "2018-11-30T00:00:00.005Z" },
    });
    let Value::Object(options) = options else { panic!("options are an object") };
    request.as_object_mut().expect("an object").extend(options);
    let vehicles: Vec<Value> =
        export.vehicles.iter().zip(files).map(|(vehicle, file)| vehicle_manifest(vehicle, file)).collect();
    let sum = |field: &str| vehicles.iter().filter_map(|vehicle| vehicle[field].as_u64()).sum::<u64>();
    let mut totals = json!({ "vehicles": vehicles.len(), "rejectedDocuments": 0, "reconciled": true });
    for field in [
        "rows",
        "bytes",
        "pointsRead",
        "cellsWritten",
        "outsideRange",
        "rejected",
        "duplicates",
        "resampledAway",
    ] {
        totals[field] = json!(sum(field));
    }
    leave_out_zero(totals.as_object_mut().expect("an object"), "resampledAway");
    // One vehicle has all of its one hour; the other, if there is one, has no parameter.
    totals["coverage"] = json!({
        "hoursAsked": vehicles.len(), "hoursWithData": 1, "percent": if vehicles.len() == 1 { 100.0 } else { 50.0 },
    });
    let lacking = json!({
        "code": "no_parameter_found", "message": "vehicle_002 has none of the parameters", "vehicle": "vehicle_002",
    });
    let warnings = if vehicles.len() == 1 { Vec::new() } else { vec![lacking] };
    let zone_data = chrono_tz::IANA_TZDB_VERSION;
    json!({
        "version": 1, "zoneDataVersion": zone_data, "request": request, "warnings": warnings,
        "vehicles": vehicles, "totals": totals,
    })
}

fn vehicle_manifest(vehicle: &ReferenceVehicle, file: &[u8]) -> Value {
    let rejected: Map<String, Value> = vehicle
        .rejected_points
        .iter()
        .map(|(reason, rejections)| {
            let sample = |sample: &ReferenceSample| {
                json!({ "parameter": sample.parameter, "document": sample.document, "path": sample.path })
            };
            let samples: Vec<Value> = rejections.samples.iter().map(sample).collect();
            (reason.clone(), json!({ "count": rejections.count, "samples": samples }))
        })
        .collect();
    let mut manifest = json!({
        "vehicle": vehicle.database, "entry": vehicle.file_name, "rows": vehicle.rows, "points": vehicle.points,
        "firstTime": vehicle.first_time_ms, "lastTime": vehicle.last_time_ms,
        "bytes": file.len(), "crc32": format!("{:08x}", crc32fast::hash(file)),
        "pointsRead": vehicle.points_read, "cellsWritten": vehicle.cells_written(),
        "outsideRange": vehicle.outside_range, "rejected": vehicle.rejected_point_count(),
        "duplicates": vehicle.duplicates, "resampledAway": vehicle.resampled_away, "filled": vehicle.filled,
        "guarded": vehicle.guarded, "rejectedPoints": rejected, "rejectedDocuments": {},
        "missingCollections": vehicle.missing_collections,
    });
    leave_out_zero(manifest.as_object_mut().expect("an object"), "resampledAway");
    leave_out_zero(manifest.as_object_mut().expect("an object"), "filled");
    manifest["coverage"] = coverage(&vehicle.coverage);
    let of_parameters = vehicle.parameter_coverage.iter();
    manifest["coverage"]["parameters"] =
        of_parameters.map(|(name, of)| (name.clone(), coverage(of))).collect::<Map<_, _>>().into();
    manifest
}

fn coverage(of: &ReferenceCoverage) -> Value {
    let gap = |gap: &ReferenceGap| json!({ "from": gap.from, "to": gap.to, "hours": gap.hours });
    let mut coverage = json!({
        "hoursAsked": of.hours_asked, "hoursWithData": of.hours_with_data,
        "percent": if of.hours_with_data == 1 { 100.0 } else { 0.0 },
        "firstTime": of.first_time_ms, "lastTime": of.last_time_ms,
        "gaps": of.gaps.iter().map(gap).collect::<Vec<_>>(), "filled": of.filled, "filledHours": of.filled_hours,
    });
    for field in ["filled", "filledHours"] {
        leave_out_zero(coverage.as_object_mut().expect("an object"), field);
    }
    coverage
}

fn leave_out_zero(manifest: &mut Map<String, Value>, field: &str) {
    if manifest[field] == json!(0) {
        manifest.remove(field);
    }
}

const FIRST: &[u8] = b"time,soc\n1543536000000,2\n1543536000002,2\n1543536000004,2\n";
const SECOND: &[u8] = b"time,soc\n";

fn objects(export: &ReferenceExport, compression: &str, ending: &str, pack: fn(&[u8]) -> Vec<u8>) -> Objects {
    let options = json!({
        "format": "csv", "archive": "none", "compression": compression, "timeFormat": "unix_ms", "csvGuard": "off",
        "stepMs": 2, "fill": "previous",
    });
    let manifest = manifest(export, options, &[FIRST, SECOND]).to_string();
    vec![
        (format!("vehicle_001.csv{ending}"), pack(FIRST)),
        ("manifest.json".to_owned(), manifest.into_bytes()),
        (format!("vehicle_002.csv{ending}"), pack(SECOND)),
    ]
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).expect("memory")
}

type Pack = fn(&[u8]) -> Vec<u8>;

const KINDS: [(ReferenceCompression, &str, &str, Pack); 3] = [
    (ReferenceCompression::Gzip, "gzip", ".gz", gzip),
    (ReferenceCompression::Zstd, "zstd", ".zst", zstd),
    (ReferenceCompression::None, "none", "", <[u8]>::to_vec),
];

#[test]
fn equal_objects_are_listed_whatever_their_compression() {
    for (compression, name, ending, pack) in KINDS {
        let (request, export) = exported(compression);
        let objects = objects(&export, name, ending, pack);
        let listing = compare_objects(&objects, &request, &export).expect("the objects are equal");
        assert_eq!(listing.entries.len(), 3);
        assert_eq!(listing.entries[0].size_bytes, FIRST.len() as u64);

        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in &objects {
            std::fs::write(folder.path().join(name), content).expect("a file");
        }
        let read = read_folder(folder.path()).expect("the files");
        compare_objects(&read, &request, &export).expect("the files are equal");
    }
}

#[test]
fn extra_members_and_truncated_files_are_reported() {
    for (compression, name, ending, pack) in &KINDS[..2] {
        let (request, export) = exported(*compression);
        let differences = |first: Vec<u8>| {
            let mut objects = objects(&export, name, ending, *pack);
            objects[0].1 = first;
            compare_objects(&objects, &request, &export).expect_err("a difference").0
        };
        let two = differences([pack(&FIRST[..30]), pack(&FIRST[30..])].concat());
        assert!(two[0].contains("bytes follow the first"), "{two:?}");
        let nothing_in_it = differences([pack(FIRST), pack(b"")].concat());
        assert!(nothing_in_it[0].contains("bytes follow the first"), "{nothing_in_it:?}");
        let packed = pack(FIRST);
        let cut = differences(packed[..packed.len() - 3].to_vec());
        assert!(cut[0].starts_with(&format!("object vehicle_001.csv{ending}: this is no")), "{cut:?}");
        let plain = differences(FIRST.to_vec());
        assert!(plain[0].contains("this is no"), "{plain:?}");
        let other = differences(pack(b"time,soc\n1543536000000,2\n"));
        assert!(other[0].starts_with("vehicle vehicle_001: line 3:"), "{other:?}");
    }
}

#[test]
fn missing_and_additional_objects_are_named() {
    let (request, export) = exported(ReferenceCompression::Gzip);
    let all = objects(&export, "gzip", ".gz", gzip);
    for index in 0..all.len() {
        let mut fewer = all.clone();
        fewer.remove(index);
        let found = compare_objects(&fewer, &request, &export).expect_err("a difference");
        assert!(found.0[0].starts_with("objects: expected"), "{found}");
    }
    let mut more = all.clone();
    more.push(all[0].clone());
    let found = compare_objects(&more, &request, &export).expect_err("a difference");
    assert!(found.0[0].starts_with("objects: expected"), "{found}");
}

#[test]
fn the_manifest_repeats_what_was_asked() {
    let (request, export) = exported(ReferenceCompression::Gzip);
    for pointer in [
        "/request/compression",
        "/request/stepMs",
        "/request/fill",
        "/request/csvGuard",
        "/vehicles/0/filled",
        "/vehicles/0/resampledAway",
        "/totals/resampledAway",
        "/vehicles/0/entry",
    ] {
        let mut objects = objects(&export, "gzip", ".gz", gzip);
        let mut manifest: Value = serde_json::from_slice(&objects[1].1).expect("JSON");
        *manifest.pointer_mut(pointer).expect("a field") = json!("wrong");
        objects[1].1 = manifest.to_string().into_bytes();
        let found = compare_objects(&objects, &request, &export).expect_err("a difference");
        assert_eq!(found.0.len(), 1, "{pointer}: {found}");
    }
}
