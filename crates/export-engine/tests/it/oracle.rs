//! The engine against the reference exporter, byte for byte, manifest included.

use std::error::Error as _;
use std::io::Cursor;

use bson::Document;
use export_core::source::Source;
use export_engine::{DumpError, DumpSource, EngineError};
use export_fleet::FleetSpec;
use export_testkit::dump::write_dump;
use export_testkit::generated::{case, dump_case};
use export_testkit::oddities;
use export_testkit::reference::{ReferenceArchive, ReferenceRequest, SourceVehicle, export_documents};
use export_testkit::verify;
use proptest::prelude::*;

use crate::harness::{InMemory, cases, export, plan, source_vehicle};

const MEGABYTE: usize = 1 << 20;

/// Cases of each of the three properties here. The end-to-end tests check the same property on a
/// real database.
const CASES: u32 = 3_500;

/// All differences from the reference exporter as text; empty if there are none.
pub(crate) fn differences(
    request: &ReferenceRequest,
    vehicles: &[SourceVehicle],
    slice_bytes: usize,
    threads: usize,
) -> String {
    exported_differences(request, vehicles, &InMemory(vehicles), slice_bytes, threads).expect("an export")
}

/// Like [`differences`], for another source of the same documents.
pub(crate) fn exported_differences(
    request: &ReferenceRequest,
    vehicles: &[SourceVehicle],
    source: &dyn Source,
    slice_bytes: usize,
    threads: usize,
) -> Result<String, EngineError> {
    let expected = export_documents(request, vehicles);
    let objects = export(&plan(request, &expected, vehicles), source, slice_bytes, threads)?;
    let compared = match request.options.archive {
        ReferenceArchive::Zip => verify::compare(Cursor::new(objects.zip()), request, &expected),
        ReferenceArchive::None => verify::compare_objects(&objects.written, request, &expected),
    };
    Ok(compared.err().map_or_else(String::new, |all| all.to_string()))
}

fn slice_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), Just(700), Just(MEGABYTE)]
}

/// The dump's error, if the error is one.
pub(crate) fn dump_error(error: &EngineError) -> Option<&DumpError> {
    match error {
        EngineError::Source(source) => source.source()?.downcast_ref(),
        _ => None,
    }
}

proptest! {
    #![proptest_config(cases(CASES))]

    #[test]
    fn odd_vehicles_give_what_the_reference_gives(
        case in case(), slice_bytes in slice_bytes(), threads in 1..=3_usize,
    ) {
        prop_assert_eq!(differences(&case.request, &case.vehicles, slice_bytes, threads), "");
    }

    #[test]
    fn odd_dumps_give_what_the_reference_gives(
        case in dump_case(), slice_bytes in slice_bytes(), threads in 1..=3_usize,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        write_dump(folder.path(), &case.vehicles, false).expect("a dump");
        let source = DumpSource::open(folder.path(), "vehicle_").expect("a dump");
        prop_assert!(source.left_out().is_empty(), "{:?}", source.left_out());
        let found = exported_differences(&case.request, &case.vehicles, &source, slice_bytes, threads);
        prop_assert_eq!(found.expect("an export"), "");
    }

    #[test]
    fn odd_compressed_dumps_give_what_the_reference_gives_or_are_unordered(
        case in dump_case(), slice_bytes in slice_bytes(), threads in 1..=3_usize,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        write_dump(folder.path(), &case.vehicles, true).expect("a dump");
        let source = DumpSource::open(folder.path(), "vehicle_").expect("a dump");
        match exported_differences(&case.request, &case.vehicles, &source, slice_bytes, threads) {
            Ok(found) => prop_assert_eq!(found, ""),
            Err(error) => prop_assert!(
                matches!(dump_error(&error), Some(DumpError::Unordered { .. })), "{:?}", error
            ),
        }
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

/// Real densities: many slices per vehicle, and documents that cross the edges of slices and of the
/// range.
#[test]
fn a_dense_fleet_gives_what_the_reference_gives() {
    let spec = FleetSpec {
        seed: 11,
        vehicles: 2,
        first_hour_ms: 1_543_536_000_000,
        hours: 8,
        vehicle_prefix: "vehicle_".to_owned(),
        oddities: true,
        rhythm: export_fleet::Rhythm::Paired,
    };
    let vehicles: Vec<SourceVehicle> = spec
        .vehicles()
        .map(|vehicle| {
            let mut stored =
                SourceVehicle { database: vehicle.database().to_owned(), ..SourceVehicle::default() };
            for part in vehicle.hours().flat_map(|hour| hour.documents) {
                let document = Document::try_from(&part.document).expect("valid BSON");
                stored.collections.entry(part.parameter.to_owned()).or_default().push(document.into());
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
