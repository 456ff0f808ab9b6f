//! What the archive is, whatever is in it.

use std::io::{Cursor, Read};

use export_engine::Meter;
use export_testkit::hour::HourBuilder;
use export_testkit::oddities;
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};
use zip::{CompressionMethod, ZipArchive};

use crate::memory::{InMemory, Objects, archive, engine, limits, plan};

const HOUR_MS: i64 = 1_543_536_000_000;

#[test]
fn the_same_plan_gives_the_same_bytes() {
    let fleet = oddities::one_day();
    let vehicles: Vec<SourceVehicle> = fleet
        .vehicles
        .iter()
        .map(|vehicle| SourceVehicle {
            database: format!("vehicle_{}", vehicle.suffix),
            collections: vehicle
                .collections
                .iter()
                .map(|(name, hours)| ((*name).to_owned(), hours.clone()))
                .collect(),
        })
        .collect();
    let request =
        ReferenceRequest { from_ms: fleet.from_ms, to_ms: fleet.to_ms, ..ReferenceRequest::default() };
    let plan = plan(&request, &export_documents(&request, &vehicles), &vehicles);
    let once = archive(&plan, &InMemory(&vehicles)).expect("an archive");
    let again = archive(&plan, &InMemory(&vehicles)).expect("an archive");
    assert!(once.len() > 1_000);
    assert!(once == again, "two exports of one plan differ");
}

#[test]
fn it_opens_with_an_ordinary_reader_and_the_meter_tells_its_size() {
    let hour = HourBuilder::new(HOUR_MS).point(HOUR_MS + 5, 0).point(HOUR_MS + 10_001, -408.3).build();
    let full = SourceVehicle {
        database: "vehicle_001".to_owned(),
        collections: [("current".to_owned(), vec![hour])].into(),
    };
    let empty = SourceVehicle { database: "vehicle_002".to_owned(), ..SourceVehicle::default() };
    let vehicles = [full, empty];
    let request =
        ReferenceRequest { from_ms: HOUR_MS, to_ms: HOUR_MS + 3_600_000, ..ReferenceRequest::default() };
    let plan = plan(&request, &export_documents(&request, &vehicles), &vehicles);
    let meter = Meter::default();
    let mut objects = Objects::default();
    let exported = engine(2).export(&plan, &InMemory(&vehicles), &mut objects, &meter, &limits(1 << 20));
    let (manifest, bytes) = (exported.expect("an archive"), objects.zip());

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
    let told: export_core::manifest::Manifest = serde_json::from_str(&texts[2]).expect("the manifest");
    assert_eq!(told, manifest);
}
