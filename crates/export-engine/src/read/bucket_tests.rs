use bson::{Bson, Document, doc};

use super::*;
use crate::read::column::Cell;

/// 2016-12-20T14:00:00Z, the hour of the documented sample.
const HOUR: i64 = 1_482_246_000_000;

fn decode_all(document: &Document) -> (Vec<(i64, Cell)>, Tally) {
    let range = TimeRange::new(HOUR - HOUR_MS, HOUR + 2 * HOUR_MS).expect("a range");
    decode_in(document, Scope { range, window: range, is_carried: false })
}

fn decode_in(document: &Document, scope: Scope) -> (Vec<(i64, Cell)>, Tally) {
    let (mut column, mut tally) = (Column::default(), Tally::default());
    let parameter: Parameter = "soc".parse().expect("a parameter");
    let parsed = HourDocument::parse(document.to_vec().expect("BSON").into(), 0);
    assert!(parsed.unusable.is_none());
    decode(&parsed, &parameter, scope, &mut column, &mut tally);
    tally.counts.duplicates += column.settle();
    let points =
        column.times().iter().enumerate().map(|(index, time_ms)| (*time_ms, column.cell(index))).collect();
    (points, tally)
}

fn bucket(values: Document) -> Document {
    doc! { "values": values }
}

#[test]
fn the_documented_sample() {
    let document = doc! {
        "_id": HOUR, "levels": [3_600_000, 300_000, 60_000, 10_000],
        "values": { "0": bucket(doc! { "0": bucket(doc! {
            "0": bucket(doc! { "5312": 1_126_487, "5411": 1_126_586 }),
            "10000": bucket(doc! { "714": 1_131_889 }),
        }) }) }
    };
    let (points, tally) = decode_all(&document);
    let expected = [(5_312, 1_126_487), (5_411, 1_126_586), (10_714, 1_131_889)];
    assert_eq!(points, expected.map(|(offset_ms, value)| (HOUR + offset_ms, Cell::Int(value))));
    assert_eq!(tally.counts.points_read, 3);
}

#[test]
fn keys_are_numbers_whatever_their_order() {
    let document = doc! { "_id": HOUR, "values": {
        "10000": bucket(doc! { "20": 3, "3": 2 }), "5000": bucket(doc! { "1": 1 })
    } };
    let (points, tally) = decode_all(&document);
    let expected = [(5_001, 1), (10_003, 2), (10_020, 3)];
    assert_eq!(points, expected.map(|(offset_ms, value)| (HOUR + offset_ms, Cell::Int(value))));
    assert_eq!(tally.counts.duplicates, 0);
}

#[test]
fn levels_may_be_missing_deeper_or_wrong() {
    let document = doc! { "_id": HOUR, "levels": [1, 2, 3], "count": 9, "values": {
        "1": 1, "10": bucket(doc! { "0": bucket(doc! { "0": bucket(doc! { "5": 2 }) }) })
    } };
    let (points, _) = decode_all(&document);
    assert_eq!(points, [(HOUR + 1, Cell::Int(1)), (HOUR + 15, Cell::Int(2))]);
}

#[test]
fn the_later_of_two_paths_to_one_time_wins() {
    let document = doc! { "_id": HOUR, "values": {
        "0": bucket(doc! { "10": "first" , "7": 1.0 }), "5": bucket(doc! { "5": 2, "2": 3 })
    } };
    let (points, tally) = decode_all(&document);
    assert_eq!(points, [(HOUR + 7, Cell::Int(3)), (HOUR + 10, Cell::Int(2))]);
    assert_eq!((tally.counts.points_read, tally.counts.duplicates), (4, 2));
}

#[test]
fn rejected_points_are_counted_by_reason() {
    let document = doc! { "_id": HOUR, "values": {
        "-1": 1, "3600000": 2, "x": 3, "": 4, "999999999999999999999999999999": 5,
        "10": { "count": 1 }, "11": [1], "12": bson::DateTime::from_millis(1), "13": Bson::Null,
        "y": bucket(doc! { "1": 1, "2": 2 })
    } };
    let (points, tally) = decode_all(&document);
    assert_eq!(points, [(HOUR + 13, Cell::Null)]);
    let counted: Vec<_> =
        tally.rejected_points.0.iter().map(|(reason, rejections)| (*reason, rejections.count)).collect();
    assert_eq!(
        counted,
        [("documentValue", 1), ("invalidKey", 5), ("outsideHour", 2), ("unsupportedType", 2)]
    );
    assert_eq!((tally.counts.points_read, tally.counts.rejected), (11, 10));
    let paths: Vec<_> =
        tally.rejected_points.0["invalidKey"].samples.iter().map(|sample| sample.path.as_str()).collect();
    assert_eq!(paths, ["x", "", "999999999999999999999999999999"]);
}

#[test]
fn documents_without_values_are_counted_whole() {
    for document in [doc! { "_id": HOUR }, doc! { "_id": HOUR, "values": 5 }] {
        let (points, tally) = decode_all(&document);
        let stray = u64::from(document.contains_key("values"));
        assert_eq!((points.len(), tally.counts.points_read), (0, stray));
        let rejected = &tally.rejected_documents.0["missingValues"];
        assert_eq!((rejected.count, rejected.points), (1, Some(stray)));
    }
}

#[test]
fn a_bucket_nested_too_deep_is_rejected_with_the_number_of_its_points() {
    let nested = |depth: usize| {
        let innermost = doc! { "0": 1 };
        let values = (0..depth).fold(innermost, |inner, _| doc! { "0": bucket(inner) });
        doc! { "_id": HOUR, "values": values }
    };
    assert_eq!(decode_all(&nested(MAX_DEPTH)).0.len(), 1);
    let (points, tally) = decode_all(&nested(MAX_DEPTH + 1));
    let rejected = &tally.rejected_buckets.0["tooDeep"];
    assert_eq!((points.len(), rejected.count, rejected.points), (0, 1, Some(1)));
}

#[test]
fn every_point_is_counted_in_one_slice() {
    let document = doc! { "_id": HOUR, "values": { "1": 1, "5": 2, "9": 3, "20": 4, "z": 5 } };
    let range = TimeRange::new(HOUR + 2, HOUR + 10).expect("a range");
    let window = |from: i64, to: i64| TimeRange::new(HOUR + from, HOUR + to).expect("a window");
    let (first, first_tally) = decode_in(&document, Scope { range, window: window(2, 7), is_carried: false });
    let (second, second_tally) =
        decode_in(&document, Scope { range, window: window(7, 10), is_carried: true });
    assert_eq!(first, [(HOUR + 5, Cell::Int(2))]);
    assert_eq!(second, [(HOUR + 9, Cell::Int(3))]);
    let mut both = first_tally;
    both.merge(second_tally);
    assert_eq!((both.counts.points_read, both.counts.outside_range, both.counts.rejected), (5, 2, 1));
}
