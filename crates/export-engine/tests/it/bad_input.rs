//! Input that no logging system writes: it is an error or counted as rejected, and never a panic.

use std::fs;
use std::io::Write;
use std::path::Path;

use bson::{Document, doc};
use export_core::manifest::Manifest;
use export_engine::{DumpSource, EngineError, LeftOutReason};
use export_testkit::dump::write_dump;
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};
use flate2::write::GzEncoder;

use crate::harness::{Run, plan};
use crate::oracle::{differences, dump_error, exported_differences};

const START_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;

fn request() -> ReferenceRequest {
    ReferenceRequest { from_ms: START_MS, to_ms: START_MS + 24 * HOUR_MS, ..ReferenceRequest::default() }
}

fn hour(number: i64) -> Document {
    let hour_ms = START_MS + number * HOUR_MS;
    HourBuilder::new(hour_ms).points((0..20).map(|i| (hour_ms + i * 300, i))).build()
}

fn vehicle(name: &str, collections: &[(&str, Vec<Document>)]) -> SourceVehicle {
    let collections = collections
        .iter()
        .map(|(name, documents)| ((*name).to_owned(), documents.iter().cloned().map(Into::into).collect()));
    SourceVehicle { database: name.to_owned(), collections: collections.collect() }
}

/// The manifest of an export of these vehicles from a dump, whose result is compared with the
/// reference exporter's.
fn exported(vehicles: &[SourceVehicle]) -> Manifest {
    let folder = tempfile::tempdir().expect("a folder");
    write_dump(folder.path(), vehicles, false).expect("a dump");
    let source = DumpSource::open(folder.path(), "vehicle_").expect("a dump");
    assert_eq!(exported_differences(&request(), vehicles, &source, 1, 2).expect("an export"), "");
    let plan = plan(&request(), &export_documents(&request(), vehicles), vehicles);
    let mut run = Run { threads: 1, ..Run::default() };
    run.export(&plan, &source).expect("an export").manifest
}

/// The outcome of an export from a dump whose file `soc.bson` or `soc.bson.gz` has these bytes,
/// with the error as text.
fn dump_of(file: &str, content: &[u8]) -> Result<Manifest, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let vehicles = [vehicle("vehicle_001", &[("soc", vec![])])];
    write_dump(folder.path(), &vehicles, file != "soc.bson").expect("a dump");
    fs::write(folder.path().join("vehicle_001").join(file), content).expect("a file");
    let source = DumpSource::open(folder.path(), "vehicle_").expect("a dump");
    let plan = plan(&request(), &export_documents(&request(), &vehicles), &vehicles);
    let mut run = Run { slice_bytes: 1, ..Run::default() };
    let outcome = run.export(&plan, &source);
    outcome.map(|exported| exported.manifest).map_err(|error| {
        assert!(matches!(error, EngineError::Source(_)), "not the source's: {error:?}");
        let message = dump_error(&error).expect("an error of the dump");
        assert_eq!(run.discarded[0].ended_count, 0, "the archive was ended");
        let cause = std::error::Error::source(message).map(ToString::to_string).unwrap_or_default();
        format!("{message}: {cause}")
    })
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

/// Two hours as a dump has them, and where the second begins.
fn two_hours() -> (Vec<u8>, usize) {
    let (first, second) = (hour(0).to_vec().expect("BSON"), hour(1).to_vec().expect("BSON"));
    let second_at = first.len();
    ([first, second].concat(), second_at)
}

/// The error names the file and the byte at which the document begins that cannot be read.
fn assert_names(outcome: Result<Manifest, String>, file: &str, byte: usize, how: &str) {
    let message = outcome.expect_err("an export of a broken file");
    let place = format!("at byte {byte}");
    assert!(
        message.contains(file) && message.contains(&place) && message.contains(how),
        "{how}, {place}: {message}"
    );
}

#[test]
fn a_file_that_is_cut_short_is_an_error_with_the_position() {
    let (whole, second_at) = two_hours();
    for (length, byte) in [
        (3, 0),
        (40, 0),
        (second_at - 1, 0),
        (second_at + 1, second_at),
        (second_at + 4, second_at),
        (whole.len() - 1, second_at),
    ] {
        let cut = &whole[..length];
        assert_names(dump_of("soc.bson", cut), "soc.bson", byte, "cut short");
        assert_names(dump_of("soc.bson.gz", &packed(cut)), "soc.bson.gz", byte, "cut short");
    }
    assert_eq!(dump_of("soc.bson", &whole[..second_at]).expect("one whole hour").totals.rows, 20);
}

#[test]
fn a_compressed_file_that_is_cut_short_itself_is_an_error_with_the_position() {
    let (whole, second_at) = two_hours();
    let packed = packed(&whole);
    assert_names(dump_of("soc.bson.gz", &packed[..1]), "soc.bson.gz", 0, "cut short");
    assert_names(dump_of("soc.bson.gz", &packed[..5]), "soc.bson.gz", 0, "cut short");
    assert_names(dump_of("soc.bson.gz", &packed[..packed.len() / 4]), "soc.bson.gz", 0, "cut short");
    // Without its checksum the file cannot be trusted, though all its documents are there.
    assert_names(
        dump_of("soc.bson.gz", &packed[..packed.len() - 1]),
        "soc.bson.gz",
        whole.len(),
        "cut short",
    );
    assert!(second_at < whole.len());
}

#[test]
fn a_compressed_file_with_a_flipped_bit_is_an_error_with_the_position() {
    let (whole, _) = two_hours();
    let packed = packed(&whole);
    let mut wrong_sum = packed.clone();
    let sum_at = packed.len() - 8;
    wrong_sum[sum_at] ^= 1;
    assert_names(dump_of("soc.bson.gz", &wrong_sum), "soc.bson.gz", whole.len(), "damaged");
    assert_names(dump_of("soc.bson.gz", &whole), "soc.bson.gz", 0, "damaged");
    // As long as the header of a further gzip member.
    let rubbish = [&packed[..], b"rubbish behind it"].concat();
    assert_names(dump_of("soc.bson.gz", &rubbish), "soc.bson.gz", whole.len(), "damaged");
}

#[test]
fn a_wrong_length_is_an_error_with_the_position() {
    let (whole, second_at) = two_hours();
    for length in [i32::MIN, -1, 0, 4, (16 << 20) + (16 << 10) + 1, i32::MAX] {
        let mut wrong = whole.clone();
        wrong[second_at..second_at + 4].copy_from_slice(&length.to_le_bytes());
        let says = format!("would have {length} bytes");
        assert_names(dump_of("soc.bson", &wrong), "soc.bson", second_at, &says);
        assert_names(dump_of("soc.bson.gz", &packed(&wrong)), "soc.bson.gz", second_at, &says);
    }
    // A length that another document could have: what follows is read from the wrong place.
    let mut wrong = whole.clone();
    wrong[..4].copy_from_slice(&i32::try_from(second_at - 1).expect("short").to_le_bytes());
    let message = dump_of("soc.bson", &wrong).expect_err("a wrong length");
    assert!(message.contains(&format!("byte {}", second_at - 1)), "{message}");
}

#[test]
fn rubbish_behind_the_documents_is_an_error_with_the_position() {
    let (whole, _) = two_hours();
    for (rubbish, how) in [(&b"xyz"[..], "cut short"), (b"rubbish", "would have"), (&[0; 64], "would have 0")]
    {
        let longer = [&whole[..], rubbish].concat();
        assert_names(dump_of("soc.bson", &longer), "soc.bson", whole.len(), how);
        assert_names(dump_of("soc.bson.gz", &packed(&longer)), "soc.bson.gz", whole.len(), how);
    }
}

#[test]
fn an_empty_file_is_an_empty_collection() {
    for (file, content) in [("soc.bson", vec![]), ("soc.bson.gz", packed(&[]))] {
        let manifest = dump_of(file, &content).expect("an export");
        assert_eq!((manifest.totals.rows, manifest.totals.counts.points_read), (0, 0));
    }
}

#[test]
fn a_file_of_documents_that_are_no_hours_is_counted() {
    let events = (0..10).map(|n| doc! { "_id": bson::oid::ObjectId::from_bytes([n; 12]), "event": "door" });
    let manifest =
        exported(&[vehicle("vehicle_001", &[("events", events.collect()), ("soc", vec![hour(2)])])]);
    let rejections = &manifest.vehicles[0].rejected_documents["invalidId"];
    assert_eq!((rejections.count, rejections.samples.len()), (10, 3));
    assert_eq!(manifest.totals.rows, 20);
}

/// A point below this many buckets.
fn nested(buckets: usize) -> Document {
    let values = (0..buckets).fold(doc! { "0": 1 }, |inner, _| doc! { "0": { "values": inner } });
    doc! { "_id": START_MS, "values": values }
}

#[test]
fn a_hundred_buckets_in_each_other_are_read_and_one_more_is_refused() {
    let deep = exported(&[vehicle("vehicle_001", &[("soc", vec![nested(100)])])]);
    assert_eq!((deep.totals.rows, deep.totals.rejected_documents), (1, 0));
    let too_deep = exported(&[vehicle("vehicle_001", &[("soc", vec![nested(101)])])]);
    let totals = &too_deep.totals;
    assert_eq!((totals.rows, totals.rejected_buckets, totals.counts.rejected), (0, 1, 1));
    assert_eq!(too_deep.vehicles[0].rejected_buckets["tooDeep"].points, Some(1));
}

/// A document with these elements.
fn framed(elements: &[u8]) -> Vec<u8> {
    let length = i32::try_from(elements.len() + 5).expect("short").to_le_bytes();
    [&length, elements, &[0]].concat()
}

#[test]
fn however_deep_a_document_is_the_stack_is_not_used_up() {
    let mut bucket = framed(&[]);
    for _ in 0..5_000 {
        let level = framed(&[b"\x03values\0", &bucket[..]].concat());
        bucket = framed(&[b"\x030\0", &level[..]].concat());
    }
    let id = [b"\x12_id\0", &START_MS.to_le_bytes()[..]].concat();
    let document = framed(&[&id, &b"\x03values\0"[..], &bucket].concat());
    let manifest = dump_of("soc.bson", &document).expect("an export");
    let rejected = &manifest.vehicles[0].rejected_buckets["tooDeep"];
    assert_eq!((rejected.count, rejected.uncounted), (1, 1));
}

#[test]
fn keys_of_thirty_digits_are_counted_and_shown() {
    let long = "123456789012345678901234567890";
    let zeros = "000000000000000000000000000007";
    let values = doc! { long: 1, format!("-{long}"): 2, zeros: 3, "1": { "values": { long: 4, "5": 5 } } };
    let manifest =
        exported(&[vehicle("vehicle_001", &[("soc", vec![doc! { "_id": START_MS, "values": values }])])]);
    // Zeros in front change no number, however many there are.
    assert_eq!((manifest.totals.rows, manifest.totals.counts.rejected), (2, 3));
    let samples = &manifest.vehicles[0].rejected_points["invalidKey"].samples;
    assert!(samples.iter().any(|sample| sample.path == format!("1/{long}")), "{samples:?}");
}

#[test]
fn odd_names_of_parameters_come_through_a_dump() {
    let names =
        ["a.b", "a,b", "say \"hi\"", "two\nlines", "a/b", "a..", "50%", "50%25", "=1+1", "é", " ", "x.bson"];
    let collections: Vec<_> = names.iter().map(|name| (*name, vec![hour(0)])).collect();
    let vehicles = [vehicle("vehicle_001", &collections)];
    let manifest = exported(&vehicles);
    assert_eq!(manifest.vehicles[0].points.len(), names.len());
    assert!(names.iter().all(|name| manifest.vehicles[0].points[*name] == 20));
    assert_eq!(differences(&request(), &vehicles, 1 << 20, 2), "");
}

/// Names as a file system gives them that may hold any byte.
#[cfg(unix)]
fn of_bytes(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(unix)]
#[test]
fn names_that_no_database_has_are_left_out_and_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = vehicle("vehicle_001", &[("soc", vec![hour(0)])]);
    write_dump(folder.path(), std::slice::from_ref(&good), false).expect("a dump");
    let odd_folders: [&[u8]; 6] =
        [b"vehicle_..", b"vehicle_a b", b"vehicle_a.b", b"vehicle_\\..", b"vehicle_a\nb", b"vehicle_\xff"];
    for name in odd_folders {
        fs::create_dir(folder.path().join(of_bytes(name))).expect("a folder");
    }
    // Neither a database with the prefix nor a collection.
    fs::create_dir(folder.path().join("admin")).expect("a folder");
    fs::write(folder.path().join("vehicle_file"), b"no folder").expect("a file");
    let database = folder.path().join("vehicle_001");
    let odd_files: [&[u8]; 4] = [b"a%24b.bson", b"%00.bson", b"\xfe.bson", b"%FE.bson.gz"];
    for name in odd_files {
        fs::write(database.join(of_bytes(name)), b"").expect("a file");
    }
    fs::write(database.join("system.views.bson"), b"").expect("a file");

    let source = DumpSource::open(folder.path(), "vehicle_").expect("a dump");
    let mut expected: Vec<_> = odd_folders.iter().map(|name| folder.path().join(of_bytes(name))).collect();
    expected.extend(odd_files.iter().map(|name| database.join(of_bytes(name))));
    let unusable = source.left_out().iter().filter(|one| one.reason == LeftOutReason::UnusableName);
    let mut left_out: Vec<_> = unusable.map(|one| one.path.clone()).collect();
    expected.sort();
    left_out.sort();
    assert_eq!(left_out, expected);
    let others = source.left_out().len() - left_out.len();
    assert_eq!(others, 1, "the file beside the folders: {:?}", source.left_out());
    let found = exported_differences(&request(), std::slice::from_ref(&good), &source, 1, 2);
    assert_eq!(found.expect("an export"), "");
}

#[test]
fn one_collection_in_two_files_is_an_error_with_both_names() {
    for other in ["a,b.bson.gz", "a%2Cb.bson.gz", "a%2cb.bson"] {
        let folder = tempfile::tempdir().expect("a folder");
        let vehicles = [vehicle("vehicle_001", &[("a,b", vec![hour(0)])])];
        write_dump(folder.path(), &vehicles, false).expect("a dump");
        fs::write(folder.path().join("vehicle_001").join(other), b"").expect("a file");
        let source = DumpSource::open(folder.path(), "vehicle_").expect("a dump");
        let error = exported_differences(&request(), &vehicles, &source, 1, 1).expect_err("two files");
        let message = dump_error(&error).expect("an error of the dump").to_string();
        assert!(message.contains("a%2Cb.bson") && message.contains(other), "{message}");
    }
}

#[test]
fn times_before_1970_and_at_both_ends_of_time_are_exact() {
    const FIRST_MS: i64 = -62_135_596_800_000;
    const LAST_MS: i64 = 253_402_300_799_999;
    let last_hour_ms = LAST_MS + 1 - HOUR_MS;
    for (from_ms, to_ms, hours) in [
        (-2 * HOUR_MS, HOUR_MS, vec![-2 * HOUR_MS, -HOUR_MS, 0]),
        (-1, 1, vec![-HOUR_MS, 0]),
        // The document before the first allowed instant holds points of the range.
        (FIRST_MS, FIRST_MS + HOUR_MS, vec![FIRST_MS - HOUR_MS / 2, FIRST_MS]),
        (FIRST_MS, FIRST_MS + 1, vec![FIRST_MS - 1, FIRST_MS]),
        (last_hour_ms, LAST_MS, vec![last_hour_ms - HOUR_MS / 2, last_hour_ms, LAST_MS]),
        (LAST_MS - 1, LAST_MS, vec![last_hour_ms, LAST_MS]),
    ] {
        let hours = hours.into_iter().map(|hour_ms| {
            let times = [0, 1, HOUR_MS / 2, HOUR_MS - 2, HOUR_MS - 1].map(|offset_ms| hour_ms + offset_ms);
            HourBuilder::new(hour_ms).points(times.map(|time_ms| (time_ms, time_ms))).build()
        });
        let vehicles = [vehicle("vehicle_001", &[("soc", hours.collect())])];
        let folder = tempfile::tempdir().expect("a folder");
        write_dump(folder.path(), &vehicles, false).expect("a dump");
        let source = DumpSource::open(folder.path(), "vehicle_").expect("a dump");
        let request = ReferenceRequest { from_ms, to_ms, ..ReferenceRequest::default() };
        assert!(export_documents(&request, &vehicles).vehicles[0].rows > 0, "{from_ms}");
        for slice_bytes in [1, 1 << 20] {
            let found = exported_differences(&request, &vehicles, &source, slice_bytes, 2);
            assert_eq!(found.expect("an export"), "", "{from_ms}");
        }
    }
}
