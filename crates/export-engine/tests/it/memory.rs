//! Memory of hostile documents, measured in a process of its own.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use bson::{Bson, doc};
use bytes::Bytes;
use export_core::request::ExportRequest;
use export_core::sink::Sink;
use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use export_engine::{DumpSource, Engine, ExportTask, Limits, MemoryBudget, Meter, StopFlag, plan};
use serde_json::{Value, json};

/// 2018-11-30T00:00:00Z.
const START_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;
/// Largest document that a server stores.
const LARGEST_BYTES: usize = 16 << 20;
/// Tells [`the_process_that_is_measured`] what to export.
const CASE: &str = "EXPORT_MEMORY_CASE";

/// Peak of a process before and after its export, in KiB, and the export's outcome.
#[derive(Debug)]
struct Measured {
    growth_kib: u64,
    outcome: String,
    totals: Value,
}

/// Twice the default budget, with which the largest document of a server fits into an hour.
const BUDGET_BYTES: usize = (2 * MemoryBudget::DEFAULT_MIB) << 20;

/// Exports in a process of its own, with the memory budget that one of two exports of a worker has.
fn measure(source: &Value, body: &Value) -> Measured {
    let mut body = body.clone();
    body["startDate"] = json!("2018-11-30");
    if body.get("endDate").is_none() {
        body["endDate"] = json!("2018-12-01");
    }
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["memory::the_process_that_is_measured", "--exact", "--nocapture"])
        .env(CASE, json!({ "source": source, "body": body }).to_string())
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.split_once("measured: "));
    let errors = String::from_utf8_lossy(&output.stderr);
    let (_, found) = line.unwrap_or_else(|| panic!("no figures: {text} {errors}"));
    let found: Value = serde_json::from_str(found).expect("JSON");
    let kib = |name: &str| found[name].as_u64().expect("a figure");
    Measured {
        growth_kib: kib("after") - kib("before"),
        outcome: found["outcome"].as_str().expect("a text").to_owned(),
        totals: found["totals"].clone(),
    }
}

/// Not a test by itself: [`measure`] starts it in a new process.
#[test]
#[expect(clippy::print_stdout, reason = "read by the process that has started this one")]
fn the_process_that_is_measured() {
    let Ok(case) = env::var(CASE) else { return };
    let case: Value = serde_json::from_str(&case).expect("JSON");
    let request = ExportRequest::parse(&case["body"]).expect("a request");
    let source: Box<dyn Source> = match case["source"]["folder"].as_str() {
        Some(folder) => Box::new(DumpSource::open(Path::new(folder), "vehicle_").expect("a dump")),
        None => Box::new(Wide::new(&case["source"])),
    };
    let engine = Engine::new(NonZeroUsize::new(2).expect("two")).expect("threads");
    let plan = plan(&request, source.as_ref()).expect("a plan");
    let budget = MemoryBudget::shared_by(BUDGET_BYTES, NonZeroUsize::new(2).expect("two"));
    let limits = Limits::of_share(budget.slices_bytes, engine.threads());
    let (meter, stop) = (Meter::default(), StopFlag::default());
    let task = ExportTask { plan: &plan, source: source.as_ref(), limits, meter: &meter, stop: &stop };
    let before = peak_kib();
    let outcome = engine.export(&task, &mut || Ok(Nowhere));
    let after = peak_kib();
    let totals = outcome.as_ref().ok().map(|exported| &exported.manifest.totals);
    let outcome = outcome.as_ref().map_or_else(ToString::to_string, |_| String::new());
    println!(
        "measured: {}",
        json!({ "before": before, "after": after, "outcome": outcome, "totals": totals })
    );
}

/// The largest resident set of this process so far.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak");
    line.trim().trim_end_matches(" kB").trim().parse().expect("KiB")
}

/// Discards everything.
struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One vehicle with many parameters, each with the same points in every hour of the range.
struct Wide {
    columns: usize,
    hour: Vec<u8>,
    /// The hours of the first parameter, if it has texts.
    text_hour: Option<Vec<u8>>,
}

impl Wide {
    fn new(case: &Value) -> Self {
        let count = |name: &str| case[name].as_u64().expect("a number");
        let points = u32::try_from(count("points")).expect("small");
        let step_ms = 3_600_000 / points;
        let hour_with = |value: &dyn Fn(u32) -> Bson| {
            let values = (0..points).map(|point| ((point * step_ms).to_string(), value(point)));
            let hour = doc! { "_id": 0_i64, "values": values.collect::<bson::Document>() };
            hour.to_vec().expect("BSON")
        };
        let columns = usize::try_from(count("columns")).expect("small");
        let text = case["text"].as_u64().map(|length| "x".repeat(usize::try_from(length).expect("small")));
        Self {
            columns,
            hour: hour_with(&|point| match case["are_texts"].as_bool() {
                Some(true) => format!("the state of point {point} at this time").into(),
                _ => (f64::from(point) * 0.37).into(),
            }),
            text_hour: text.map(|text| hour_with(&|_| text.clone().into())),
        }
    }
}

impl Source for Wide {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        Ok(vec!["vehicle_001".parse().expect("a vehicle")])
    }

    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        let names = || (0..self.columns).map(|column| format!("p{column}").parse().expect("a parameter"));
        Ok(vehicles.iter().map(|_| names().collect()).collect())
    }

    fn open<'a>(
        &'a self,
        _vehicle: &VehicleId,
        parameter: &Parameter,
        documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        let next_ms = (documents.from_ms() + HOUR_MS).div_euclid(HOUR_MS) * HOUR_MS;
        let text_hour = self.text_hour.as_ref().filter(|_| parameter.as_str() == "p0");
        let hour = text_hour.unwrap_or(&self.hour);
        Ok(Box::new(Hours { hour, next_ms, end_ms: documents.to_ms() }))
    }
}

struct Hours<'a> {
    hour: &'a [u8],
    next_ms: i64,
    end_ms: i64,
}

impl HourDocuments for Hours<'_> {
    fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        if self.next_ms >= self.end_ms {
            return Ok(None);
        }
        let mut document = self.hour.to_vec();
        // After the length, the type and the name of `_id`.
        document[9..17].copy_from_slice(&self.next_ms.to_le_bytes());
        self.next_ms += HOUR_MS;
        Ok(Some(document.into()))
    }
}

/// A document of the largest size: as many children as fit, one after the other.
fn largest(children: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut values = Vec::with_capacity(LARGEST_BYTES);
    for child in children {
        if values.len() + child.len() > LARGEST_BYTES - 64 {
            break;
        }
        values.extend_from_slice(&child);
    }
    hour_of(&framed(&values))
}

fn hour_of(values: &[u8]) -> Vec<u8> {
    framed(&[b"\x12_id\0", &START_MS.to_le_bytes()[..], b"\x03values\0", values].concat())
}

/// A document with these elements.
fn framed(elements: &[u8]) -> Vec<u8> {
    let length = i32::try_from(elements.len() + 5).expect("short").to_le_bytes();
    [&length, elements, &[0]].concat()
}

fn element(kind: u8, key: &str, value: &[u8]) -> Vec<u8> {
    [&[kind], key.as_bytes(), &[0], value].concat()
}

fn bucket(key: &str, children: &[u8]) -> Vec<u8> {
    element(0x03, key, &framed(&element(0x03, "values", &framed(children))))
}

fn text(length: usize) -> Vec<u8> {
    let prefix = i32::try_from(length + 1).expect("short").to_le_bytes();
    [&prefix[..], "\"".repeat(length).as_bytes(), b"\0"].concat()
}

/// A dump of one vehicle whose collections have one document each.
fn dump(collections: &[Vec<u8>]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let vehicle = folder.path().join("vehicle_001");
    fs::create_dir(&vehicle).expect("a folder");
    for (number, document) in collections.iter().enumerate() {
        fs::write(vehicle.join(format!("p{number}.bson")), document).expect("a file");
    }
    folder
}

fn hostile() -> BTreeMap<&'static str, Vec<u8>> {
    let descending = (0..1_500_000).map(|key| element(0x08, &(3_599_999 - 2 * key).to_string(), &[1]));
    let equal = std::iter::repeat_with(|| element(0x0a, "5", &[]));
    let overlapping = (0..).map(|key: i32| bucket(&(key % 7).to_string(), &element(0x10, "9", &[1; 4])));
    let one_text = std::iter::once(element(0x02, "5", &text(LARGEST_BYTES - 128)));
    let texts = (0..15).map(|key: i32| element(0x02, &key.to_string(), &text(1 << 20)));
    let one_key = std::iter::once(element(0x10, &"\u{fffd}".repeat(5_000_000), &[1; 4]));
    let no_keys = std::iter::repeat_with(|| element(0x06, "", &[]));
    let empty = std::iter::repeat_with(|| bucket("", &[]));
    let mut deep = framed(&[]);
    // Doubling would be quick; one by one is what a writer would do, so the depth is what matters.
    for _ in 0..50_000 {
        deep = framed(&element(0x03, "0", &framed(&element(0x03, "values", &deep))));
    }
    [
        ("descending", largest(descending)),
        ("equal", largest(equal)),
        ("overlapping", largest(overlapping)),
        ("one text", largest(one_text)),
        ("texts", largest(texts)),
        ("one key", largest(one_key)),
        ("no keys", largest(no_keys)),
        ("empty buckets", largest(empty)),
        ("deep", hour_of(&deep)),
    ]
    .into()
}

/// The document itself, a copy of its texts, and their rows. Most hostile documents take half of it.
const MOST_KIB: u64 = 72 << 10;

/// A point is in the file, or is counted as what it is.
#[test]
fn c6_decoding_stays_within_its_memory_whatever_the_document() {
    for (name, document) in hostile() {
        let folder = dump(&[document]);
        for format in ["csv", "parquet"] {
            let measured = measure(&json!({ "folder": folder.path() }), &json!({ "format": format }));
            assert_eq!(measured.outcome, "", "{name}, {format}");
            assert!(measured.growth_kib < MOST_KIB, "{name}, {format}: {measured:?}");
            let count = |field: &str| measured.totals[field].as_u64();
            if name == "descending" {
                assert_eq!(count("rows"), Some(1_500_000), "{format}");
            }
            if name == "equal" {
                assert_eq!((count("rows"), count("rejected")), (Some(1), Some(0)), "{format}");
            }
            if name == "one text" {
                assert_eq!((count("rows"), count("rejected")), (Some(0), Some(1)), "{format}");
            }
        }
    }
}

#[test]
fn c7_an_hour_of_several_largest_documents_is_refused_with_its_name() {
    let ascending = (0..).map(|key: i32| element(0x10, &key.to_string(), &[1; 4]));
    let document = largest(ascending.take(1_300_000));
    let folder = dump(&vec![document; 4]);
    let measured = measure(&json!({ "folder": folder.path() }), &json!({}));
    assert!(measured.outcome.contains("vehicle_001 in the hour of 2018-11-30T00:00:00"), "{measured:?}");
    assert!(measured.outcome.contains("more than 24 MiB"), "{measured:?}");
    assert!(measured.growth_kib < MOST_KIB, "{measured:?}");
}

#[test]
fn c7_forty_parquet_columns_take_as_much_memory_for_days_as_for_hours() {
    let day = json!({ "format": "parquet", "endDate": "2018-12-01" });
    let days = json!({ "format": "parquet", "endDate": "2018-12-08" });
    let wide = json!({ "columns": 40, "points": 3_600 });
    let (day, days) = (measure(&wide, &day), measure(&wide, &days));
    assert_eq!((&*day.outcome, &*days.outcome), ("", ""));
    assert!(days.growth_kib < MOST_KIB, "{days:?}");
    assert!(days.growth_kib < day.growth_kib + (12 << 10), "{day:?} {days:?}");
}

/// A year of forty columns takes too long for a test. A file with many columns and a long text in
/// each row has as many column chunks after a thousand rows.
#[test]
fn c7_a_parquet_file_with_too_many_row_groups_is_refused() {
    let body = json!({ "format": "parquet", "endDate": "2019-01-15" });
    let measured = measure(&json!({ "columns": 500, "points": 1, "text": 1 << 18 }), &body);
    let refused = "a Parquet file of 501 columns may have 65 row groups, and this one would have more";
    assert_eq!(measured.outcome, refused);
    assert!(measured.growth_kib < MOST_KIB, "{measured:?}");
}

/// The footer of the largest file, with columns of texts.
#[test]
fn c7_the_footer_of_many_text_columns_takes_little_memory() {
    let body = json!({ "format": "parquet", "endDate": "2019-01-09" });
    let texts = json!({ "columns": 500, "points": 1, "text": 1 << 18, "are_texts": true });
    let measured = measure(&texts, &body);
    assert_eq!(measured.outcome, "");
    // With statistics of texts it takes 73 MiB.
    assert!(measured.growth_kib < 68 << 10, "{measured:?}");
}

/// A burst of points in the first minute, each with a row of its own: 72,000 rows of 481 columns.
#[test]
fn c7_few_points_in_many_columns_and_rows_take_little_memory() {
    let columns = 0..480;
    let collections: Vec<Vec<u8>> = columns
        .clone()
        .map(|column| {
            let key = |point: i32| (point * columns.end + column).to_string();
            let points = (0..150).map(|point| element(0x10, &key(point), &[1; 4]));
            hour_of(&framed(&points.collect::<Vec<_>>().concat()))
        })
        .collect();
    let folder = dump(&collections);
    for format in ["csv", "parquet"] {
        let measured = measure(&json!({ "folder": folder.path() }), &json!({ "format": format }));
        assert_eq!(measured.outcome, "", "{format}");
        assert_eq!(measured.totals["rows"], 72_000, "{format}");
        // All rows at once would take 277 MB; the writers of 481 columns alone take 30.
        assert!(measured.growth_kib < MOST_KIB + (24 << 10), "{format}: {measured:?}");
    }
}
