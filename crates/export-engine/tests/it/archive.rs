//! The archive, independent of the data in it.

use std::io::{Cursor, Read};

use export_engine::VehiclePlan;
use export_testkit::hour::HourBuilder;
use export_testkit::oddities;
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};
use zip::{CompressionMethod, ZipArchive};

use crate::harness::{InMemory, Run, archive, plan, source_vehicle};

const HOUR_MS: i64 = 1_543_536_000_000;

#[test]
fn the_same_plan_gives_the_same_bytes() {
    let fleet = oddities::one_day();
    let vehicles: Vec<SourceVehicle> = fleet.vehicles.iter().map(source_vehicle).collect();
    let request =
        ReferenceRequest { from_ms: fleet.from_ms, to_ms: fleet.to_ms, ..ReferenceRequest::default() };
    let plan = plan(&request, &export_documents(&request, &vehicles), &vehicles);
    let once = archive(&plan, &InMemory(&vehicles)).expect("an archive");
    let again = archive(&plan, &InMemory(&vehicles)).expect("an archive");
    assert!(once.len() > 1_000);
    assert!(once == again, "two exports of one plan differ");
}

#[test]
fn it_opens_with_an_ordinary_reader_and_the_meter_has_its_size() {
    let hour = HourBuilder::new(HOUR_MS).point(HOUR_MS + 5, 0).point(HOUR_MS + 10_001, -408.3).build();
    let full = SourceVehicle {
        database: "vehicle_001".to_owned(),
        collections: [("current".to_owned(), vec![hour.into()])].into(),
    };
    let empty = SourceVehicle { database: "vehicle_002".to_owned(), ..SourceVehicle::default() };
    let vehicles = [full, empty];
    let request =
        ReferenceRequest { from_ms: HOUR_MS, to_ms: HOUR_MS + 3_600_000, ..ReferenceRequest::default() };
    let plan = plan(&request, &export_documents(&request, &vehicles), &vehicles);
    let mut run = Run::default();
    let exported = run.export(&plan, &InMemory(&vehicles)).expect("an archive");
    let (manifest, bytes, meter) = (exported.manifest, exported.sink.zip(), run.meter);

    assert_eq!(meter.bytes(), bytes.len() as u64);
    assert_eq!((meter.rows(), meter.points(), meter.vehicles_done()), (2, 2, 2));
    assert!((meter.share_done() - 1.0).abs() < f64::EPSILON);
    assert_eq!(manifest.totals.rows, 2);

    let mut archive = ZipArchive::new(Cursor::new(bytes)).expect("a zip archive");
    let mut found = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).expect("an entry");
        assert_eq!(entry.compression(), CompressionMethod::DEFLATE);
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text whose CRC is right");
        found.push((entry.name().expect("a name").into_owned(), text));
    }
    let (names, texts): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    assert_eq!(names, ["vehicle_001.csv", "vehicle_002.csv", "manifest.json"]);
    assert_eq!(texts[0], "time,current\n1543536000005,0\n1543536010001,-408.3\n");
    assert_eq!(texts[1], "time,current\n");
    let written: export_core::manifest::Manifest = serde_json::from_str(&texts[2]).expect("the manifest");
    assert_eq!(written, manifest);
}

#[test]
fn names_of_any_language_are_read_as_they_are() {
    let name = "vehicle_Bus_ü_電";
    let vehicles = [SourceVehicle { database: name.to_owned(), ..SourceVehicle::default() }];
    let request =
        ReferenceRequest { from_ms: HOUR_MS, to_ms: HOUR_MS + 3_600_000, ..ReferenceRequest::default() };
    let plan = plan(&request, &export_documents(&request, &vehicles), &vehicles);
    let bytes = archive(&plan, &InMemory(&vehicles)).expect("an archive");
    let mut zip = ZipArchive::new(Cursor::new(bytes)).expect("a zip archive");
    let entry = zip.by_index(0).expect("an entry");
    assert_eq!(entry.name().expect("a name"), format!("{name}.csv"));
    // Unless an entry comes from Unix, unzip reads its name in an IBM code page.
    assert_eq!(entry.unix_mode().map(|mode| mode & 0o777), Some(0o644));
}

/// More than the 65,535 entries that a zip without ZIP64 can count.
#[test]
fn a_zip_has_as_many_entries_as_there_are_vehicles() {
    const VEHICLES: usize = 70_000;
    let request =
        ReferenceRequest { from_ms: HOUR_MS, to_ms: HOUR_MS + 3_600_000, ..ReferenceRequest::default() };
    let mut plan = plan(&request, &export_documents(&request, &[]), &[]);
    plan.vehicles = (0..VEHICLES)
        .map(|number| VehiclePlan {
            vehicle: format!("vehicle_{number:05}").parse().expect("a vehicle"),
            has_collection: Vec::new(),
            unread: Vec::new(),
        })
        .collect();
    let bytes = archive(&plan, &InMemory(&[])).expect("an archive");
    // The end of a zip counts entries in two bytes; all ones mean that the ZIP64 record has the
    // number.
    let end = bytes.len() - 22;
    assert_eq!((&bytes[end..end + 4], &bytes[end + 8..end + 12]), (&b"PK\x05\x06"[..], &[0xff; 4][..]));

    let mut zip = ZipArchive::new(Cursor::new(bytes)).expect("a zip archive");
    assert_eq!(zip.len(), VEHICLES + 1);
    for number in [0, 65_534, 65_535, 65_536, VEHICLES - 1] {
        let mut entry = zip.by_index(number).expect("an entry");
        assert_eq!(entry.name().expect("a name"), format!("vehicle_{number:05}.csv"));
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text whose CRC is right");
        assert_eq!(text, "time\n");
    }
    assert_eq!(zip.by_index(VEHICLES).expect("an entry").name().expect("a name"), "manifest.json");
}
