//! The archive check: equal archives pass, and every kind of difference is reported.

use std::io::{Cursor, Write};

use export_testkit::hour::HourBuilder;
use export_testkit::reference::{ReferenceExport, ReferenceRequest, SourceVehicle, export_documents};
use export_testkit::verify;
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const HOUR_MS: i64 = 1_543_536_000_000;

fn expected() -> (ReferenceRequest, ReferenceExport) {
    let hour = HourBuilder::new(HOUR_MS).points([(HOUR_MS, 1), (HOUR_MS + 1, 0)]).entry(&["x"], 1).build();
    let source = SourceVehicle {
        database: "vehicle_001".to_owned(),
        collections: [("soc".to_owned(), vec![hour.into()])].into(),
    };
    let empty = SourceVehicle { database: "vehicle_002".to_owned(), ..SourceVehicle::default() };
    let request =
        ReferenceRequest { from_ms: HOUR_MS, to_ms: HOUR_MS + 3_600_000, ..ReferenceRequest::default() };
    let export = export_documents(&request, &[empty, source]);
    (request, export)
}

fn manifest() -> Value {
    let whole = json!({
        "hoursAsked": 1, "hoursWithData": 1, "percent": 100.0, "firstTime": HOUR_MS, "lastTime": HOUR_MS + 1, "gaps": [],
    });
    let gap = json!({ "from": "2018-11-30T00:00:00Z", "to": "2018-11-30T01:00:00Z", "hours": 1 });
    let nothing = json!({
        "hoursAsked": 1, "hoursWithData": 0, "percent": 0.0, "firstTime": null, "lastTime": null, "gaps": [gap],
    });
    let with_soc = |hours: &Value| {
        let mut coverage = hours.clone();
        coverage["parameters"] = json!({ "soc": hours });
        coverage
    };
    let lacking = json!({
        "code": "no_parameter_found", "message": "vehicle_002 has none of the parameters", "vehicle": "vehicle_002",
    });
    json!({
        "warnings": [lacking],
        "version": 1, "zoneDataVersion": chrono_tz::IANA_TZDB_VERSION,
        "request": {
            "vehicles": ["vehicle_001", "vehicle_002"], "parameters": ["soc"],
            "range": { "from": "2018-11-30T00:00:00Z", "to": "2018-11-30T01:00:00Z" },
            "timezone": "UTC", "format": "csv", "archive": "zip", "timeFormat": "unix_ms", "csvGuard": "on",
        },
        "vehicles": [
            {
                "vehicle": "vehicle_001", "entry": "vehicle_001.csv", "rows": 2, "points": { "soc": 2 },
                "firstTime": HOUR_MS, "lastTime": HOUR_MS + 1, "bytes": 41, "crc32": "CRC",
                "pointsRead": 3, "cellsWritten": 2, "outsideRange": 0, "rejected": 1, "duplicates": 0, "guarded": 0,
                "rejectedPoints": { "invalidKey": { "count": 1, "samples": [
                    { "parameter": "soc", "document": "1543536000000", "path": "x" },
                ] } },
                "rejectedDocuments": {}, "missingCollections": [], "coverage": with_soc(&whole),
            },
            {
                "vehicle": "vehicle_002", "entry": "vehicle_002.csv", "rows": 0, "points": { "soc": 0 },
                "firstTime": null, "lastTime": null, "bytes": 9, "crc32": "CRC",
                "pointsRead": 0, "cellsWritten": 0, "outsideRange": 0, "rejected": 0, "duplicates": 0, "guarded": 0,
                "rejectedPoints": {}, "rejectedDocuments": {}, "missingCollections": ["soc"],
                "coverage": with_soc(&nothing),
            },
        ],
        "totals": {
            "vehicles": 2, "rows": 2, "bytes": 50, "pointsRead": 3, "cellsWritten": 2, "outsideRange": 0,
            "rejected": 1, "duplicates": 0, "rejectedDocuments": 0, "reconciled": true,
            "coverage": { "hoursAsked": 2, "hoursWithData": 1, "percent": 50.0 },
        },
    })
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).expect("an entry");
        writer.write_all(content).expect("its content");
    }
    writer.finish().expect("an archive").into_inner()
}

fn crc32(content: &[u8]) -> String {
    let mut archive = zip::ZipArchive::new(Cursor::new(zip(&[("x", content)]))).expect("an archive");
    format!("{:08x}", archive.by_index(0).expect("an entry").crc32())
}

/// The check's findings for an archive with these files and this manifest.
fn differences(first: &[u8], second: &[u8], manifest: &Value) -> Vec<String> {
    let (request, export) = expected();
    let manifest = manifest.to_string();
    let archive = zip(&[
        ("vehicle_001.csv", first),
        ("vehicle_002.csv", second),
        ("manifest.json", manifest.as_bytes()),
    ]);
    match verify::compare(Cursor::new(archive), &request, &export) {
        Ok(_) => Vec::new(),
        Err(differences) => differences.0,
    }
}

const FIRST: &[u8] = b"time,soc\n1543536000000,1\n1543536000001,0\n";
const SECOND: &[u8] = b"time,soc\n";

fn good_manifest() -> Value {
    let mut manifest = manifest();
    manifest["vehicles"][0]["crc32"] = json!(crc32(FIRST));
    manifest["vehicles"][1]["crc32"] = json!(crc32(SECOND));
    manifest
}

#[test]
fn an_equal_archive_is_listed() {
    let (request, export) = expected();
    let manifest = good_manifest().to_string();
    let archive = zip(&[
        ("vehicle_001.csv", FIRST),
        ("vehicle_002.csv", SECOND),
        ("manifest.json", manifest.as_bytes()),
    ]);
    let listing = verify::compare(Cursor::new(archive), &request, &export).expect("the archive is equal");
    assert_eq!(listing.entries.len(), 3);
    let sample = listing.to_string();
    assert!(sample.ends_with("\nvehicle_001.csv\ntime,soc\n1543536000000,1\n1543536000001,0\n"), "{sample}");
}

#[test]
fn a_different_line_is_named() {
    let lost_zero = b"time,soc\n1543536000000,1\n1543536000001,\n";
    let found = differences(lost_zero, SECOND, &good_manifest());
    let line = r#"vehicle vehicle_001: line 3: expected "1543536000001,0\n", got "1543536000001,\n""#;
    assert_eq!(found[0], line);
    assert!(found[1].starts_with("manifest, vehicle vehicle_001, crc32: expected"), "{found:?}");
    assert_eq!(found.len(), 2);

    let cut = differences(&FIRST[..25], SECOND, &good_manifest());
    assert_eq!(
        cut[0],
        r#"vehicle vehicle_001: line 3: expected "1543536000001,0\n", got the end of the file"#
    );
}

#[test]
fn every_field_of_the_manifest_counts() {
    assert_eq!(differences(FIRST, SECOND, &good_manifest()), Vec::<String>::new());
    let pointers = [
        "/version",
        "/request/vehicles",
        "/request/parameters",
        "/request/range/from",
        "/request/range/to",
        "/request/timezone",
        "/request/format",
        "/request/archive",
        "/request/timeFormat",
        "/request/csvGuard",
        "/vehicles/0/rows",
        "/vehicles/0/points/soc",
        "/vehicles/0/firstTime",
        "/vehicles/0/lastTime",
        "/vehicles/0/bytes",
        "/vehicles/0/crc32",
        "/vehicles/0/pointsRead",
        "/vehicles/0/cellsWritten",
        "/vehicles/0/outsideRange",
        "/vehicles/0/rejected",
        "/vehicles/0/duplicates",
        "/vehicles/0/guarded",
        "/vehicles/0/rejectedPoints/invalidKey/count",
        "/vehicles/0/rejectedPoints/invalidKey/samples/0/parameter",
        "/vehicles/0/rejectedPoints/invalidKey/samples/0/document",
        "/vehicles/0/rejectedPoints/invalidKey/samples/0/path",
        "/vehicles/1/rejectedDocuments",
        "/vehicles/1/missingCollections",
        "/vehicles/1/firstTime",
        "/totals/rows",
        "/totals/bytes",
        "/totals/reconciled",
        "/totals/rejectedDocuments",
    ];
    for pointer in pointers {
        let mut wrong = good_manifest();
        *wrong.pointer_mut(pointer).expect("a field") = json!({ "wrong": { "count": 77 } });
        assert_eq!(differences(FIRST, SECOND, &wrong).len(), 1, "{pointer}");
    }
    let too_much = [
        ("/request", "compression"),
        ("/request", "stepMs"),
        ("/request", "fill"),
        ("/vehicles/0", "resampledAway"),
        ("/vehicles/0", "filled"),
        ("/totals", "resampledAway"),
    ];
    for (pointer, field) in too_much {
        let mut wrong = good_manifest();
        wrong.pointer_mut(pointer).expect("an object")[field] = json!(null);
        assert_eq!(differences(FIRST, SECOND, &wrong).len(), 1, "{pointer}/{field}");
    }
}

#[test]
fn an_entry_that_is_stored_is_named() {
    let (request, export) = expected();
    let manifest = good_manifest().to_string();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let entries = [
        ("vehicle_001.csv", FIRST, SimpleFileOptions::default()),
        ("vehicle_002.csv", SECOND, stored),
        ("manifest.json", manifest.as_bytes(), SimpleFileOptions::default()),
    ];
    for (name, content, options) in entries {
        writer.start_file(name, options).expect("an entry");
        writer.write_all(content).expect("its content");
    }
    let archive = writer.finish().expect("an archive");
    let found = verify::compare(archive, &request, &export).expect_err("a difference");
    assert_eq!(found.0, ["entry vehicle_002.csv: expected method deflate, got Stored"]);
}

#[test]
fn missing_additional_and_misplaced_entries_are_named() {
    let (request, export) = expected();
    let manifest = good_manifest().to_string();
    let swapped = zip(&[
        ("vehicle_002.csv", SECOND),
        ("vehicle_001.csv", FIRST),
        ("manifest.json", manifest.as_bytes()),
    ]);
    let lost = zip(&[("vehicle_001.csv", FIRST), ("manifest.json", manifest.as_bytes())]);
    for archive in [swapped, lost] {
        let found = verify::compare(Cursor::new(archive), &request, &export).expect_err("a difference");
        assert!(found.0[0].starts_with("entries: expected"), "{found}");
    }
    let corrupt =
        verify::compare(Cursor::new(b"PK no zip".to_vec()), &request, &export).expect_err("a difference");
    assert!(corrupt.0[0].starts_with("this is no zip archive"), "{corrupt}");
}
