//! Runs any bytes as the documents of two collections through the whole engine: no panic, every
//! point is counted (or the engine returns an error), and neither the size of slices nor the number
//! of threads changes the result.
//!
//! The first byte chooses the options. The rest is cut into documents by their length prefixes.
//! Where a prefix is impossible, the rest is one document with a corrected prefix, so that the
//! decoder sees its content. The documents then come like those of a source: in order, and with no
//! `_id` out of the range.
//!
//! The engine's tests compile this file too, and play the seeds.

use std::io;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::LazyLock;

use bson::{Bson, RawDocument};
use bytes::Bytes;
use chrono_tz::Tz;
use export_core::output::{Archive, Compression, Fill, Format, OutputOptions, TimeFormat};
use export_core::request::ExportRequest;
use export_core::sink::Sink;
use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use export_engine::{
    Engine, ExportTask, Limits, Meter, Plan, ResultLimits, SliceSize, StopFlag, VehiclePlan,
};

/// The exported range. Documents of other times reach the decoder only if they overlap it.
const FROM_MS: i64 = 1_234_567;
const TO_MS: i64 = 4 * HOUR_MS + 1;
const HOUR_MS: i64 = 3_600_000;

/// Smallest BSON document: a length and a closing byte.
const MIN_BYTES: usize = 5;
/// More documents take time and find nothing new.
const MAX_DOCUMENTS: usize = 16;

static ENGINES: LazyLock<[Engine; 2]> = LazyLock::new(|| {
    [1, 2].map(|threads| Engine::new(NonZeroUsize::new(threads).expect("not zero")).expect("threads"))
});

/// Exports the documents in two ways; `false` if there are no bytes.
///
/// # Panics
/// If the two results differ, or if the engine fails.
pub fn exports_alike(data: &[u8]) -> bool {
    let Some((options, rest)) = data.split_first() else { return false };
    let source = Documents::cut(rest);
    let plan = plan(output(*options));
    let whole = export(&plan, &source, &ENGINES[0], 1 << 20);
    let sliced = export(&plan, &source, &ENGINES[1], 1);
    assert!(whole == sliced, "two exports of the same documents differ");
    true
}

/// The documents of each collection.
struct Documents([Vec<Bytes>; 2]);

impl Documents {
    fn cut(mut bytes: &[u8]) -> Self {
        let mut columns = [Vec::new(), Vec::new()];
        for index in 0..MAX_DOCUMENTS {
            if bytes.len() < MIN_BYTES {
                break;
            }
            let length = bytes.first_chunk().map_or(0, |prefix| u32::from_le_bytes(*prefix) as usize);
            let is_length = (MIN_BYTES..=bytes.len()).contains(&length);
            let (document, rest) = bytes.split_at(if is_length { length } else { bytes.len() });
            let mut document = document.to_vec();
            let length = u32::try_from(document.len()).expect("inputs are short");
            document[..4].copy_from_slice(&length.to_le_bytes());
            columns[index % 2].push(document);
            bytes = rest;
        }
        Self(columns.map(as_a_source_gives_them))
    }
}

fn as_a_source_gives_them(documents: Vec<Vec<u8>>) -> Vec<Bytes> {
    let mut last_ms = i64::MIN;
    let mut placed = Vec::new();
    for document in documents {
        let id = match read_id(&document) {
            Ok(id) => id.and_then(|id| integral(&id)),
            // The engine's reader may find this `_id`, since it checks less of the document before
            // it.
            Err(_) if document.windows(4).any(|bytes| bytes == b"_id\0") => continue,
            Err(_) => None,
        };
        if id.is_some_and(|id| !(FROM_MS - HOUR_MS + 1..TO_MS).contains(&id)) {
            continue;
        }
        last_ms = id.unwrap_or(last_ms);
        placed.push((last_ms, document));
    }
    placed.sort_by_key(|(place_ms, _)| *place_ms);
    placed.into_iter().map(|(_, document)| document.into()).collect()
}

fn read_id(document: &[u8]) -> bson::error::Result<Option<Bson>> {
    for element in RawDocument::from_bytes(document)? {
        let (key, value) = element?;
        if key.as_str() == "_id" {
            return value.try_into().map(Some);
        }
    }
    Ok(None)
}

/// An integral `_id`. A Decimal128 may have a point or an exponent, so it is treated as out of
/// range.
#[expect(clippy::cast_possible_truncation, reason = "a double beyond all i64 is out of the range either way")]
fn integral(id: &Bson) -> Option<i64> {
    match id {
        Bson::Int32(id) => Some(i64::from(*id)),
        Bson::Int64(id) => Some(*id),
        Bson::Double(id) if id.fract() == 0.0 => Some(*id as i64),
        Bson::Decimal128(_) => Some(i64::MAX),
        _ => None,
    }
}

impl Source for Documents {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        unreachable!("the plan is given")
    }

    fn parameters(&self, _vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        unreachable!("the plan is given")
    }

    fn open<'a>(
        &'a self,
        _vehicle: &VehicleId,
        parameter: &Parameter,
        _documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        let column = usize::from(parameter.as_str() == "odo");
        Ok(Box::new(Listed(self.0[column].iter())))
    }
}

struct Listed<'a>(std::slice::Iter<'a, Bytes>);

impl HourDocuments for Listed<'_> {
    fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        Ok(self.0.next().cloned())
    }
}

/// All objects in one buffer.
#[derive(Default)]
struct Joined(Vec<u8>);

impl Sink for Joined {
    fn begin(&mut self, name: &str) -> io::Result<()> {
        self.0.extend_from_slice(name.as_bytes());
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn output(options: u8) -> OutputOptions {
    let step_ms = [1_000_000, 3_600_000, u64::MAX][usize::from(options >> 5) % 3];
    let is_resampled = options & 4 != 0;
    OutputOptions {
        format: if options & 1 == 0 { Format::Csv } else { Format::Parquet },
        time_format: if options & 2 == 0 { TimeFormat::UnixMs } else { TimeFormat::Rfc3339 },
        // Not compressed: the packing is not under test and takes most of the time.
        archive: Archive::None,
        compression: Compression::None,
        step_ms: NonZeroU64::new(step_ms).filter(|_| is_resampled),
        fill: is_resampled.then_some(if options & 8 == 0 { Fill::None } else { Fill::Previous }),
        ..OutputOptions::default()
    }
}

fn plan(output: OutputOptions) -> Plan {
    let vehicle = VehiclePlan {
        vehicle: "vehicle_001".parse().expect("a vehicle"),
        has_collection: vec![true, true],
        unread: Vec::new(),
    };
    Plan {
        request: ExportRequest {
            start_date: String::new(),
            end_date: String::new(),
            timezone: Tz::Europe__Amsterdam,
            range: TimeRange::new(FROM_MS, TO_MS).expect("a range"),
            output,
            vehicles: None,
            parameters: None,
            webhook_url: None,
            fresh: false,
            label: None,
            retry_of: None,
        },
        vehicles: vec![vehicle],
        parameters: ["soc", "odo"].map(|name| name.parse().expect("a parameter")).to_vec(),
    }
}

fn export(plan: &Plan, source: &Documents, engine: &Engine, slice_bytes: usize) -> Vec<u8> {
    let slice = SliceSize { target_bytes: slice_bytes, most_bytes: slice_bytes };
    let result = ResultLimits::default();
    let limits = Limits { slice, slices_share_bytes: 4 << 20, hour_bytes: 64 << 20, result };
    let (meter, stop) = (Meter::default(), StopFlag::default());
    let task = ExportTask { plan, source, limits, meter: &meter, stop: &stop };
    match engine.export(&task, &mut || Ok(Joined::default())) {
        Ok(exported) => exported.sink.0,
        Err(error) => panic!("{error}"),
    }
}
