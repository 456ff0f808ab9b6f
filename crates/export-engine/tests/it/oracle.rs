//! The engine against the reference exporter, byte for byte, manifest included.

use std::io::Cursor;

use bson::Document;
use export_engine::Meter;
use export_fleet::FleetSpec;
use export_testkit::oddities;
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};
use export_testkit::verify;
use proptest::prelude::*;

use crate::memory::{InMemory, Objects, engine, limits, plan};
use crate::odd;

const MEGABYTE: usize = 1 << 20;

/// All differences as text; nothing when there are none.
fn differences(
    request: &ReferenceRequest,
    vehicles: &[SourceVehicle],
    slice_bytes: usize,
    threads: usize,
) -> String {
    let expected = export_documents(request, vehicles);
    let (plan, source) = (plan(request, &expected, vehicles), InMemory(vehicles));
    let mut objects = Objects::default();
    let exported =
        engine(threads).export(&plan, &source, &mut objects, &Meter::default(), &limits(slice_bytes));
    exported.expect("an archive");
    verify::compare(Cursor::new(objects.zip()), request, &expected)
        .err()
        .map_or_else(String::new, |all| all.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn odd_vehicles_give_what_the_reference_gives(
        case in odd::case(),
        slice_bytes in prop_oneof![Just(1), Just(700), Just(MEGABYTE)],
        threads in 1..=3_usize,
    ) {
        prop_assert_eq!(differences(&case.request, &case.vehicles, slice_bytes, threads), "");
    }
}

#[test]
fn every_known_oddity_gives_what_the_reference_gives() {
    for fleet in [oddities::one_day(), oddities::near_1970()] {
        let vehicles: Vec<SourceVehicle> = fleet.vehicles.iter().map(source_vehicle).collect();
        let request =
            ReferenceRequest { from_ms: fleet.from_ms, to_ms: fleet.to_ms, ..ReferenceRequest::default() };
        assert_eq!(differences(&request, &vehicles, 1, 2), "", "{}", fleet.start_date);
    }
}

/// Real densities: many slices per vehicle, and documents that reach over the edges of slices and of the range.
#[test]
fn a_dense_fleet_gives_what_the_reference_gives() {
    let spec = FleetSpec {
        seed: 11,
        vehicles: 2,
        first_hour_ms: 1_543_536_000_000,
        hours: 8,
        vehicle_prefix: "vehicle_".to_owned(),
        oddities: true,
    };
    let vehicles: Vec<SourceVehicle> = spec
        .vehicles()
        .map(|vehicle| {
            let mut stored =
                SourceVehicle { database: vehicle.database().to_owned(), ..SourceVehicle::default() };
            for part in vehicle.hours().flat_map(|hour| hour.documents) {
                let document = Document::try_from(&part.document).expect("valid BSON");
                stored.collections.entry(part.parameter.to_owned()).or_default().push(document);
            }
            stored
        })
        .collect();
    let (from_ms, to_ms) =
        (spec.first_hour_ms + 1_234_567, spec.first_hour_ms + 7 * export_fleet::HOUR_MS + 1);
    let request = ReferenceRequest { from_ms, to_ms, ..ReferenceRequest::default() };
    assert!(export_documents(&request, &vehicles).vehicles.iter().any(|vehicle| vehicle.rows > 10_000));
    assert_eq!(differences(&request, &vehicles, MEGABYTE, 2), "");
}

fn source_vehicle(vehicle: &oddities::OddVehicle) -> SourceVehicle {
    let collections = vehicle.collections.iter();
    SourceVehicle {
        database: format!("vehicle_{}", vehicle.suffix),
        collections: collections.map(|(name, hours)| ((*name).to_owned(), hours.clone())).collect(),
    }
}
