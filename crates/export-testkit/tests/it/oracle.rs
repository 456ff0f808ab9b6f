//! The reference exporter against expectations written by hand.

use std::collections::BTreeMap;

use bson::{Document, doc};
use export_testkit::hour::HourBuilder;
use export_testkit::oddities::{self, OddFleet};
use export_testkit::reference::{
    ReferenceExport, ReferenceRequest, Rejections, SourceVehicle, export_documents,
};

const HOUR_MS: i64 = 1_482_246_000_000;

pub(crate) fn vehicle(database: &str, collections: &[(&str, Vec<Document>)]) -> SourceVehicle {
    SourceVehicle {
        database: database.to_owned(),
        collections: collections
            .iter()
            .map(|(name, hours)| ((*name).to_owned(), hours.iter().cloned().map(Into::into).collect()))
            .collect(),
    }
}

pub(crate) fn request(from_ms: i64, to_ms: i64) -> ReferenceRequest {
    ReferenceRequest { from_ms, to_ms, ..ReferenceRequest::default() }
}

pub(crate) fn csv(export: &ReferenceExport, index: usize) -> &str {
    std::str::from_utf8(&export.vehicles[index].csv).expect("a CSV is UTF-8")
}

/// Rejections without their samples.
fn counts(rejections: &BTreeMap<String, Rejections>) -> BTreeMap<String, u64> {
    rejections.iter().map(|(reason, rejections)| (reason.clone(), rejections.count)).collect()
}

/// Every number and text of an odd fleet, as an exporter must produce it.
pub(crate) fn assert_equals(fleet: &OddFleet, prefix: &str, export: &ReferenceExport) {
    assert_eq!(export.parameters, fleet.parameters);
    let counted = |counts: &[(&str, u64)]| -> BTreeMap<String, u64> {
        counts.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
    };
    assert_eq!(export.vehicles.len(), fleet.vehicles.len());
    for (found, odd) in export.vehicles.iter().zip(&fleet.vehicles) {
        assert_eq!(found.database, format!("{prefix}{}", odd.suffix));
        assert_eq!(String::from_utf8_lossy(&found.csv), odd.csv, "{}", odd.suffix);
        assert_eq!(counts(&found.rejected_points), counted(&odd.rejected), "{}", odd.suffix);
        assert_eq!(counts(&found.rejected_documents), counted(&odd.rejected_documents), "{}", odd.suffix);
        assert_eq!(found.duplicates, odd.duplicates, "{}", odd.suffix);
        assert_eq!(found.outside_range, odd.outside_range, "{}", odd.suffix);
        assert_eq!((found.guarded, found.replaced), (odd.guarded, odd.replaced), "{}", odd.suffix);
        assert_eq!(found.missing_collections, odd.missing_collections, "{}", odd.suffix);
        assert!(found.reconciles());
    }
}

#[test]
fn the_document_of_the_layout_s_description() {
    let sample = doc! {
        "_id": HOUR_MS, "levels": [3_600_000, 300_000, 60_000, 10_000],
        "values": { "0": { "values": { "0": { "values": {
            "0": { "values": { "5312": 1_126_487, "5411": 1_126_586 } },
            "10000": { "values": { "714": 1_131_889 } },
        } } } } },
    };
    let points = [(HOUR_MS + 5_312, 1_126_487), (HOUR_MS + 5_411, 1_126_586), (HOUR_MS + 10_714, 1_131_889)];
    assert_eq!(HourBuilder::new(HOUR_MS).points(points).build().get("values"), sample.get("values"));

    let vehicles = [vehicle("vehicle_001", &[("odo", vec![sample])])];
    let export = export_documents(&request(HOUR_MS, HOUR_MS + 10_714), &vehicles);
    assert_eq!(csv(&export, 0), "time,odo\n1482246005312,1126487\n1482246005411,1126586\n");
    let found = &export.vehicles[0];
    assert_eq!((found.points_read, found.cells_written(), found.outside_range), (3, 2, 1));
    assert_eq!((found.first_time_ms, found.last_time_ms), (Some(HOUR_MS + 5_312), Some(HOUR_MS + 5_411)));
}

#[test]
fn every_oddity_gives_the_text_written_by_hand() {
    for fleet in [oddities::one_day(), oddities::near_1970()] {
        let vehicles: Vec<SourceVehicle> = fleet
            .vehicles
            .iter()
            .rev()
            .map(|odd| vehicle(&format!("vehicle_{}", odd.suffix), &odd.collections))
            .collect();
        let export = export_documents(&request(fleet.from_ms, fleet.to_ms), &vehicles);
        assert_equals(&fleet, "vehicle_", &export);
    }
}

#[test]
fn columns_are_the_union_in_the_default_order_or_as_asked() {
    let one = |value: i32| vec![HourBuilder::new(HOUR_MS).point(HOUR_MS, value).build()];
    let vehicles = [
        vehicle("vehicle_002", &[("voltage", one(1)), ("power", one(2)), ("Zeta", one(3))]),
        vehicle("vehicle_001", &[("analyses.range", one(4)), ("a,b", one(5)), ("soc", one(6))]),
    ];
    let all = request(HOUR_MS, HOUR_MS + 1);
    let export = export_documents(&all, &vehicles);
    assert_eq!(
        csv(&export, 0),
        "time,soc,voltage,Zeta,\"a,b\",analyses.range,power\n1482246000000,6,,,5,4,\n"
    );
    assert_eq!(
        csv(&export, 1),
        "time,soc,voltage,Zeta,\"a,b\",analyses.range,power\n1482246000000,,1,3,,,2\n"
    );

    let some = ReferenceRequest {
        vehicles: Some(vec!["vehicle_002".into(), "vehicle_003".into()]),
        parameters: Some(vec!["voltage".into(), "soc".into()]),
        ..all
    };
    let export = export_documents(&some, &vehicles);
    assert_eq!(csv(&export, 0), "time,voltage,soc\n1482246000000,1,\n");
    assert_eq!(csv(&export, 1), "time,voltage,soc\n");
    assert_eq!(export.vehicles[1].missing_collections, ["voltage", "soc"]);
}

#[test]
fn ids_that_no_query_returns_are_rejected_and_hours_out_of_reach_are_passed_over() {
    let hours = vec![
        doc! { "_id": f64::NAN, "values": { "0": 1 } },
        doc! { "_id": "text", "values": { "0": 1 } },
        doc! { "_id": HOUR_MS - 3_600_000, "values": { "0": 1 } },
        doc! { "_id": HOUR_MS - 3_599_999, "values": { "3599999": 2 } },
        doc! { "_id": HOUR_MS + 1, "values": { "0": 3 } },
        doc! { "_id": 1e300, "values": { "0": 4 } },
    ];
    let export =
        export_documents(&request(HOUR_MS, HOUR_MS + 1), &[vehicle("vehicle_001", &[("soc", hours)])]);
    assert_eq!(csv(&export, 0), "time,soc\n1482246000000,2\n");
    assert_eq!(counts(&export.vehicles[0].rejected_documents), BTreeMap::from([("invalidId".to_owned(), 2)]));
    let (read, rejected) = (export.vehicles[0].points_read, export.vehicles[0].rejected_point_count());
    assert_eq!((read, rejected), (3, 2));
}
