//! Which rejected items are shown as samples, and what happens to documents that no query returns.

use bson::{Bson, doc};
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{
    ReferenceSample, ReferenceVehicle, SourceVehicle, StoredDocument, export_documents,
};

use crate::oracle::{csv, request};

/// 2018-11-30T00:00:00Z
const START_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;

fn exported(collections: &[(&str, Vec<StoredDocument>)]) -> (String, ReferenceVehicle) {
    let source = SourceVehicle {
        database: "vehicle_001".to_owned(),
        collections: collections.iter().map(|(name, hours)| ((*name).to_owned(), hours.clone())).collect(),
    };
    let export = export_documents(&request(START_MS, START_MS + 24 * HOUR_MS), &[source]);
    (csv(&export, 0).to_owned(), export.vehicles[0].clone())
}

fn samples(samples: &[ReferenceSample]) -> Vec<(&str, &str, &str)> {
    samples
        .iter()
        .map(|sample| (sample.parameter.as_str(), sample.document.as_str(), sample.path.as_str()))
        .collect()
}

fn hour(number: i64) -> HourBuilder {
    HourBuilder::new(START_MS + number * HOUR_MS)
}

#[test]
fn the_first_three_by_hour_column_and_path() {
    let soc = vec![
        hour(1).entry(&["x"], 1).build().into(),
        hour(0).entry(&["0", "y"], 1).entry(&["5", "z"], 1).build().into(),
    ];
    let odo = vec![hour(0).entry(&["late"], 1).build().into(), hour(0).entry(&["last"], 1).build().into()];
    let (_, vehicle) = exported(&[("soc", soc), ("odo", odo)]);
    let invalid = &vehicle.rejected_points["invalidKey"];
    assert_eq!(invalid.count, 5);
    let first = "1543536000000";
    assert_eq!(
        samples(&invalid.samples),
        [("soc", first, "0/y"), ("soc", first, "5/z"), ("odo", first, "late")]
    );
}

#[test]
fn long_paths_are_cut() {
    let key = "é".repeat(150);
    let (_, vehicle) = exported(&[("soc", vec![hour(0).entry(&[&key, &key], 1).build().into()])]);
    let path = format!("{key}/{}", "é".repeat(49));
    let invalid = &vehicle.rejected_points["invalidKey"];
    assert_eq!(samples(&invalid.samples), [("soc", "1543536000000", path.as_str())]);
}

#[test]
fn documents_without_a_time_stand_behind_the_one_before_them() {
    let text = |id: &str| doc! { "_id": id, "values": { "0": 1 } }.into();
    let soc = vec![
        hour(5).point(START_MS + 5 * HOUR_MS, 5).build().into(),
        text("behind five"),
        hour(1).point(START_MS + HOUR_MS, 1).build().into(),
        text("behind one"),
        // Out of reach, so it is as if it were not there.
        hour(99).build().into(),
        text("behind one too"),
    ];
    let odo = vec![text("at the beginning"), hour(3).build().into(), text("behind three")];
    let (csv, vehicle) = exported(&[("soc", soc), ("odo", odo)]);
    assert_eq!(csv, "time,soc,odo\n1543539600000,1,\n1543554000000,5,\n");
    let invalid = &vehicle.rejected_documents["invalidId"];
    assert_eq!(invalid.count, 5);
    assert_eq!(
        samples(&invalid.samples),
        [("odo", "at the beginning", ""), ("soc", "behind one", ""), ("soc", "behind one too", "")]
    );
}

#[test]
fn what_cannot_be_read_costs_its_bucket_or_its_document() {
    let good = hour(0).points([(START_MS + 7, 1), (START_MS + 8, 2), (START_MS + 9, 3)]).build();
    let mut broken = good.to_vec().expect("a document");
    let at = broken.windows(3).position(|bytes| bytes == b"\x108\0").expect("the second point");
    broken[at] = 0x55;
    let too_deep = (0..101).fold(doc! { "0": 1 }, |inner, _| doc! { "0": { "values": inner } });
    let soc = vec![
        StoredDocument::Raw(vec![6, 0, 0, 0, 0x55, 0]),
        StoredDocument::Raw(broken),
        doc! { "_id": START_MS + HOUR_MS, "values": too_deep }.into(),
        StoredDocument::Raw(vec![5, 0, 0, 0, 0]),
        doc! { "_id": Bson::Null, "values": { "1": 1, "2": { "values": [1, 2] } } }.into(),
    ];
    let (csv, vehicle) = exported(&[("soc", soc)]);
    assert_eq!(csv, "time,soc\n1543536000007,1\n");
    let counts = (vehicle.points_read, vehicle.rejected_point_count(), vehicle.rejected_document_count());
    assert_eq!(counts, (5, 4, 3));
    let unreadable = &vehicle.rejected_documents["malformed"];
    assert_eq!((unreadable.points, unreadable.uncounted), (Some(0), 1));
    assert_eq!(samples(&unreadable.samples), [("soc", "unreadable", "")]);
    let rest = &vehicle.rejected_buckets["malformed"];
    assert_eq!((rest.count, rest.points, rest.uncounted), (1, Some(0), 1));
    assert_eq!(samples(&rest.samples), [("soc", "1543536000000", "0/0/0")]);
    let deep = &vehicle.rejected_buckets["tooDeep"];
    assert_eq!((deep.count, deep.points, deep.uncounted), (1, Some(1), 0));
    let without_id = &vehicle.rejected_documents["invalidId"];
    assert_eq!((without_id.points, without_id.uncounted), (Some(3), 0));
    assert_eq!(
        samples(&without_id.samples),
        [("soc", "missing", ""), ("soc", "a value of BSON type 0x0a", "")]
    );
}

#[test]
fn of_a_key_that_is_there_twice_the_later_one_counts() {
    let mut bytes =
        hour(0).points([(START_MS + 7, 1), (START_MS + 8, 2)]).build().to_vec().expect("a document");
    let at = bytes.windows(3).position(|bytes| bytes == b"\x108\0").expect("the second point");
    bytes[at + 1] = b'7';
    let (csv, vehicle) = exported(&[("soc", vec![StoredDocument::Raw(bytes)])]);
    assert_eq!(csv, "time,soc\n1543536000007,2\n");
    assert_eq!((vehicle.points_read, vehicle.duplicates), (2, 1));
}
