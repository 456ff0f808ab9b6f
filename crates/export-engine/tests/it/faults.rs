//! Documents that no driver writes but a server stores or a dump holds: every point is a cell, or is
//! counted with its reason.

use bson::{Bson, Document, doc};
use export_core::manifest::{Manifest, Rejections};
use export_engine::DumpSource;
use export_testkit::dump::write_dump;
use export_testkit::reference::{ReferenceRequest, SourceVehicle, StoredDocument, export_documents};

use crate::harness::{Run, plan};
use crate::oracle::exported_differences;

/// 2018-11-30T00:00:00Z.
const START_MS: i64 = 1_543_536_000_000;

/// The rows of the CSV, each as the offset of its time and its cell, and the manifest. The result is
/// compared with the reference exporter's.
fn exported(document: Vec<u8>) -> (Vec<(i64, String)>, Manifest) {
    let vehicles = [SourceVehicle {
        database: "vehicle_001".to_owned(),
        collections: [("soc".to_owned(), vec![StoredDocument::Raw(document)])].into(),
    }];
    let mut request =
        ReferenceRequest { from_ms: START_MS, to_ms: START_MS + 3_600_000, ..ReferenceRequest::default() };
    request.options.archive = export_testkit::reference::ReferenceArchive::None;
    request.options.compression = export_testkit::reference::ReferenceCompression::None;
    let folder = tempfile::tempdir().expect("a folder");
    write_dump(folder.path(), &vehicles, false).expect("a dump");
    let source = DumpSource::open(folder.path(), "vehicle_").expect("a dump");
    assert_eq!(exported_differences(&request, &vehicles, &source, 1, 2).expect("an export"), "");
    let plan = plan(&request, &export_documents(&request, &vehicles), &vehicles);
    let exported = Run::default().export(&plan, &source).expect("an export");
    let csv = String::from_utf8(exported.sink.written[0].1.clone()).expect("UTF-8");
    let rows = csv.lines().skip(1).map(|line| {
        let (time, cell) = line.split_once(',').expect("two columns");
        (time.parse::<i64>().expect("a time") - START_MS, cell.to_owned())
    });
    (rows.collect(), exported.manifest)
}

/// The document's bytes, with all `from` replaced by `to` of the same length.
fn patched(document: &Document, patches: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = document.to_vec().expect("BSON");
    for (from, to) in patches {
        assert_eq!(from.len(), to.len());
        let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
        assert!(!places.is_empty(), "{from:?} is not there");
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes
}

fn rows(expected: &[(i64, &str)]) -> Vec<(i64, String)> {
    expected.iter().map(|(offset_ms, cell)| (*offset_ms, (*cell).to_owned())).collect()
}

/// Read, in cells, rejected, duplicates.
fn counts(manifest: &Manifest) -> (u64, u64, u64, u64) {
    let counts = manifest.totals.counts;
    (counts.points_read, counts.cells_written, counts.rejected, counts.duplicates)
}

fn rejected_point<'a>(manifest: &'a Manifest, reason: &str) -> &'a Rejections {
    &manifest.vehicles[0].rejected_points[reason]
}

const REPEATED: (&[u8], &[u8]) = (b"valueZ\0", b"values\0");

#[test]
fn a1_values_that_are_there_twice_are_both_read() {
    let document = doc! { "_id": START_MS, "values": { "5": 1, "9": 2 }, "valueZ": { "5": 3, "7": 4 } };
    let (found, manifest) = exported(patched(&document, &[REPEATED]));
    assert_eq!(found, rows(&[(5, "3"), (7, "4"), (9, "2")]));
    assert_eq!(counts(&manifest), (4, 3, 0, 1));
}

#[test]
fn a1_values_that_are_there_twice_in_a_bucket_are_both_read() {
    let bucket =
        doc! { "valueZ": { "1": 1 }, "count": 3, "values": { "1": 2, "3": { "values": { "0": 3 } } } };
    let document = doc! { "_id": START_MS, "values": { "10": bucket, "4": 5 } };
    let (found, manifest) = exported(patched(&document, &[REPEATED]));
    assert_eq!(found, rows(&[(4, "5"), (11, "2"), (13, "3")]));
    assert_eq!(counts(&manifest), (4, 3, 0, 1));
}

#[test]
fn a1_a_second_values_of_another_type_is_counted() {
    let bucket = doc! { "values": { "1": 1 }, "valueZ": "stray" };
    let document = doc! { "_id": START_MS, "valueZ": 7, "values": { "10": bucket } };
    let (found, manifest) = exported(patched(&document, &[REPEATED]));
    assert_eq!(found, rows(&[(11, "1")]));
    assert_eq!(counts(&manifest), (3, 1, 2, 0));
    let strays = rejected_point(&manifest, "notABucket");
    let paths: Vec<&str> = strays.samples.iter().map(|sample| sample.path.as_str()).collect();
    assert_eq!((strays.count, paths), (2, vec!["", "10"]));
}

#[test]
fn a1_equal_keys_in_one_bucket_are_all_counted() {
    let bucket = |value: i32| doc! { "values": { "1": value } };
    let document = doc! { "_id": START_MS, "values": { "q": bucket(1), "0": bucket(2), "r": 3, "1": 4 } };
    let (found, manifest) = exported(patched(&document, &[(b"q\0", b"0\0"), (b"r\0", b"1\0")]));
    assert_eq!(found, rows(&[(1, "4")]));
    assert_eq!(counts(&manifest), (4, 1, 0, 3));
}

#[test]
fn a1_two_ids_reject_the_document_and_its_points_are_counted() {
    for (first, second) in [(Bson::from(START_MS), Bson::from(START_MS)), (START_MS.into(), "x".into())] {
        let document = doc! { "_id": first, "_iz": second, "values": { "1": 1, "2": { "values": [2, 3] } } };
        let (found, manifest) = exported(patched(&document, &[(b"_iz\0", b"_id\0")]));
        assert_eq!((found.len(), counts(&manifest)), (0, (3, 0, 3, 0)));
        let rejected = &manifest.vehicles[0].rejected_documents["repeatedId"];
        assert_eq!((rejected.count, rejected.points, rejected.uncounted), (1, Some(3), 0));
    }
}

/// One `_id` is in the range, the other one is days away; fields lie between them.
#[test]
fn a1_two_ids_reject_the_document_wherever_they_are() {
    let far_ms = START_MS - 100 * 3_600_000;
    let (long, many) = ("x".repeat(500), (0..200).map(|index| (format!("field{index}"), Bson::Int32(index))));
    let between: [Document; 5] = [
        doc! {},
        doc! { "values": { "1": 1 } },
        doc! { "note": &long, "values": { "1": 1 }, "flag": true, "at": bson::DateTime::from_millis(7) },
        doc! { &long: 1, "values": { "1": 1 } },
        many.collect(),
    ];
    for (first_ms, second_ms) in [(far_ms, START_MS), (START_MS, far_ms), (far_ms, far_ms)] {
        for fields in &between {
            let mut document = doc! { "_id": first_ms };
            document.extend(fields.clone());
            document.insert("_iz", second_ms);
            document.insert("end", 1);
            let (found, manifest) = exported(patched(&document, &[(b"_iz\0", b"_id\0")]));
            let rejected = &manifest.vehicles[0].rejected_documents["repeatedId"];
            assert_eq!((found.len(), rejected.count), (0, 1), "{document}");
        }
    }
}

/// A dump with documents outside the range around one in it, in both orders.
#[test]
fn a1_a_document_outside_the_range_is_skipped_whatever_fields_it_has() {
    let far_ms = START_MS - 100 * 3_600_000;
    let long = "x".repeat(500);
    for fields in
        [doc! {}, doc! { "note": &long, "values": { "1": 1 }, "_ids": 1 }, doc! { &long: { "_id": 1 } }]
    {
        let mut document = doc! { "_id": far_ms };
        document.extend(fields);
        let (found, manifest) = exported(document.to_vec().expect("BSON"));
        assert_eq!((found.len(), counts(&manifest)), (0, (0, 0, 0, 0)), "{document}");
        assert!(manifest.vehicles[0].rejected_documents.is_empty(), "{document}");
    }
}

#[test]
fn a1_repeated_levels_change_nothing() {
    let document = doc! { "_id": START_MS, "levels": [1], "levelz": 2, "values": { "1": 1 } };
    let (found, manifest) = exported(patched(&document, &[(b"levelz\0", b"levels\0")]));
    assert_eq!((found, counts(&manifest)), (rows(&[(1, "1")]), (1, 1, 0, 0)));
}

#[test]
fn a2_a_text_that_is_not_utf_8_costs_itself() {
    for invalid in [[0xed, 0xa0, 0x80], [0xff, b'x', b'y'], [b'a', 0xc3, b'b']] {
        let values = doc! { "1": 1, "2": "€", "3": "fine", "3600000": "€" };
        let document = doc! { "_id": START_MS, "note": "€", "values": values };
        let (found, manifest) = exported(patched(&document, &[("€".as_bytes(), &invalid)]));
        assert_eq!(found, rows(&[(1, "1"), (3, "fine")]));
        assert_eq!(counts(&manifest), (4, 2, 2, 0));
        let rejected = rejected_point(&manifest, "invalidValue");
        assert_eq!((rejected.count, rejected.samples[0].path.as_str()), (2, "2"));
    }
}

#[test]
fn a2_a_key_that_is_not_utf_8_costs_itself() {
    let bucket = doc! { "values": { "1": 1, "2": 2 } };
    let document = doc! { "_id": START_MS, "€": 1, "values": { "€": 1, "4": 2, "5€": bucket, "6": 3 } };
    let (found, manifest) = exported(patched(&document, &[("€".as_bytes(), &[0xed, 0xa0, 0x80])]));
    assert_eq!(found, rows(&[(4, "2"), (6, "3")]));
    assert_eq!(counts(&manifest), (5, 2, 3, 0));
    assert_eq!(rejected_point(&manifest, "invalidKey").count, 3);
}

#[test]
fn a2_bytes_that_do_not_fit_their_type_cost_one_value() {
    let document = doc! { "_id": START_MS, "values": { "1": true, "2": "text", "3": 3, "4": "open" } };
    let patches: [(&[u8], &[u8]); 2] = [(b"\x081\0\x01", b"\x081\0\x02"), (b"open\0", b"open!")];
    let (found, manifest) = exported(patched(&document, &patches));
    assert_eq!(found, rows(&[(2, "text"), (3, "3")]));
    assert_eq!(rejected_point(&manifest, "invalidValue").count, 2);
}

#[test]
fn a2_an_element_that_cannot_be_read_costs_the_rest_of_its_bucket() {
    let bucket = doc! { "values": { "1": 1, "2": 2, "3": 3 } };
    let document = doc! { "_id": START_MS, "values": { "10": bucket.clone(), "20": bucket }, "count": 6 };
    let mut bytes = document.to_vec().expect("BSON");
    let at = bytes.windows(3).position(|element| element == b"\x102\0").expect("the second point");
    bytes[at] = 0x55;
    let (found, manifest) = exported(bytes);
    assert_eq!(found, rows(&[(11, "1"), (21, "1"), (22, "2"), (23, "3")]));
    let rest = &manifest.vehicles[0].rejected_buckets["malformed"];
    assert_eq!((rest.count, rest.points, rest.uncounted), (1, Some(0), 1));
    assert_eq!(rest.samples[0].path, "10");
    assert_eq!(manifest.totals.rejected_buckets, 1);
}

#[test]
fn a2_a_bucket_without_its_end_costs_the_bucket() {
    let bucket = doc! { "values": { "1": 1 } };
    let document = doc! { "_id": START_MS, "values": { "10": bucket.clone(), "20": bucket, "30": 5 } };
    let mut bytes = document.to_vec().expect("BSON");
    let at = bytes.windows(4).position(|element| element == b"\x0320\0").expect("the second bucket");
    // The bucket's closing byte, before the next element.
    let next = bytes.windows(4).position(|element| element == b"\x1030\0").expect("the last point");
    assert!(at < next);
    bytes[next - 1] = 9;
    let (found, manifest) = exported(bytes);
    assert_eq!(found, rows(&[(11, "1"), (30, "5")]));
    assert_eq!(manifest.vehicles[0].rejected_buckets["malformed"].samples[0].path, "20");
}

#[test]
fn a2_a_document_of_which_nothing_can_be_read_says_so() {
    let mut bytes = doc! { "_id": START_MS, "values": { "1": 1 } }.to_vec().expect("BSON");
    *bytes.last_mut().expect("a closing byte") = 1;
    let (found, manifest) = exported(bytes);
    assert_eq!((found.len(), counts(&manifest)), (0, (0, 0, 0, 0)));
    let rejected = &manifest.vehicles[0].rejected_documents["malformed"];
    assert_eq!((rejected.count, rejected.points, rejected.uncounted), (1, Some(0), 1));
}

#[test]
fn a2_a_text_of_more_than_a_mebibyte_costs_itself() {
    let fits = "x".repeat(1 << 20);
    let values = doc! { "1": &fits, "2": format!("{fits}x"), "3": 3 };
    let (found, manifest) = exported(doc! { "_id": START_MS, "values": values }.to_vec().expect("BSON"));
    assert_eq!(found, rows(&[(1, &fits), (3, "3")]));
    assert_eq!(rejected_point(&manifest, "textTooLong").count, 1);
}

#[test]
fn a3_arrays_are_read_with_their_indexes_as_keys() {
    let bucket = Bson::from(doc! { "values": [8, { "values": { "100": 9 } }] });
    for values in [Bson::from(vec![Bson::from(7), bucket.clone()]), doc! { "0": 7, "1": bucket }.into()] {
        let (found, manifest) = exported(doc! { "_id": START_MS, "values": values }.to_vec().expect("BSON"));
        assert_eq!(found, rows(&[(0, "7"), (1, "8"), (102, "9")]));
        assert_eq!(counts(&manifest), (3, 3, 0, 0));
    }
}

/// As drivers do, which ignore the stored keys.
#[test]
fn a3_the_stored_keys_of_an_array_do_not_count() {
    let document = doc! { "_id": START_MS, "values": { "x": 1, "700": 2 } };
    let mut bytes = document.to_vec().expect("BSON");
    let at = bytes.windows(8).position(|element| element == b"\x03values\0").expect("the field");
    bytes[at] = 0x04;
    assert_eq!(exported(bytes).0, rows(&[(0, "1"), (1, "2")]));
}

#[test]
fn a3_an_array_in_the_place_of_a_value_is_one_rejected_value() {
    let document = doc! { "_id": START_MS, "values": { "1": [1, { "values": { "1": 2 } }], "2": 2 } };
    let (found, manifest) = exported(document.to_vec().expect("BSON"));
    assert_eq!((found, counts(&manifest)), (rows(&[(2, "2")]), (2, 1, 1, 0)));
    assert_eq!(rejected_point(&manifest, "unsupportedType").count, 1);
}
