//! Real documents with changed bytes cause no panic, every point is counted (or the engine returns
//! an error), and neither the size of slices nor the number of threads changes the result. A short
//! version of what cargo-fuzz does for hours.

use std::num::NonZeroU64;

use bson::{Bson, RawDocument};
use export_core::output::{Archive, Compression, Fill, Format};
use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use export_engine::Plan;
use export_testkit::hour::{HourBuilder, KeyOrder};
use export_testkit::reference::{ReferenceRequest, SourceVehicle, export_documents};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::harness::{List, cases, export, plan};

const START_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;
const FROM_MS: i64 = START_MS + 1_234;
const TO_MS: i64 = START_MS + 5 * HOUR_MS;
const PARAMETERS: [&str; 2] = ["odo", "soc"];

/// A change of one document.
#[derive(Clone, Debug)]
enum Change {
    FlipBits(Vec<(Index, u8)>),
    /// One byte becomes a meaningful one: a type, a digit, an end.
    Place(Index, u8),
    Truncate(Index),
    /// The start of this document, the end of another.
    Splice(Index, Index, Index),
    /// A stretch is repeated.
    Repeat(Index, Index),
    /// A stretch is removed.
    Cut(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let meaningful = select(b"\x00\x01\x02\x03\x04\x05\x08\x0a\x10\x12\x13\xff0-9v".to_vec());
    prop_oneof![
        3 => vec((at(), 0..8_u8), 1..4).prop_map(Change::FlipBits),
        3 => (at(), meaningful).prop_map(|(at, byte)| Change::Place(at, byte)),
        1 => at().prop_map(Change::Truncate),
        2 => (at(), at(), at()).prop_map(|(from, other, to)| Change::Splice(from, other, to)),
        2 => (at(), at()).prop_map(|(one, other)| Change::Repeat(one, other)),
        1 => (at(), at()).prop_map(|(one, other)| Change::Cut(one, other)),
    ]
}

/// The documents to change: every kind of value, every order of keys, hours that overlap.
fn real() -> Vec<Vec<u8>> {
    let hours = (0..6_i64).map(|number| {
        let hour_ms = START_MS + number * HOUR_MS - (number % 2) * HOUR_MS / 3;
        let order = [KeyOrder::Numeric, KeyOrder::Text, KeyOrder::Shuffled(5)]
            [usize::try_from(number % 3).expect("small")];
        HourBuilder::new(hour_ms)
            .key_order(order)
            .points((0..6).map(|i| (hour_ms + i * 417_300, i * number)))
            .point(hour_ms + 7, -408.3)
            .point(hour_ms + 11, true)
            .point(hour_ms + 13, "=52.1|4.3")
            .point(hour_ms + 17, Bson::Null)
            .point(hour_ms + 19, bson::Decimal128::from_bytes([1; 16]))
            .point(hour_ms + 23, 1_i64 << 60)
            .entry(&["300000", "x"], 5)
            .entry(&["7"], bson::doc! { "a": [1] })
            .build()
    });
    hours.map(|hour| hour.to_vec().expect("BSON")).collect()
}

/// The changed documents by column. Their length prefixes are corrected, since servers and dump
/// readers check them.
fn changed(mut documents: Vec<Vec<u8>>, changes: &[(Index, Change)]) -> [Vec<Vec<u8>>; 2] {
    let real = documents.clone();
    for (which, change) in changes {
        let document = which.get_mut(&mut documents);
        apply(change, document, &real);
        document.resize(document.len().max(5), 0);
        let length = i32::try_from(document.len()).expect("short");
        document[..4].copy_from_slice(&length.to_le_bytes());
    }
    let documents = as_a_source_gives_them(documents);
    let odd = documents.iter().skip(1).step_by(2).cloned().collect();
    [documents.into_iter().step_by(2).collect(), odd]
}

/// Orders the documents, and keeps those whose `_id` is in the range or not a number, like a
/// source.
fn as_a_source_gives_them(documents: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let range = FROM_MS - HOUR_MS + 1..TO_MS;
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
        if id.is_some_and(|id| !range.contains(&id)) {
            continue;
        }
        last_ms = id.unwrap_or(last_ms);
        placed.push((last_ms, document));
    }
    placed.sort_by_key(|(place_ms, _)| *place_ms);
    placed.into_iter().map(|(_, document)| document).collect()
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

/// An integral `_id`.
fn integral(id: &Bson) -> Option<i64> {
    match id {
        Bson::Int32(id) => Some(i64::from(*id)),
        Bson::Int64(id) => Some(*id),
        #[expect(clippy::cast_possible_truncation, reason = "a saturated value is out of the range too")]
        Bson::Double(id) if id.fract() == 0.0 => Some(*id as i64),
        // It may have a point or an exponent, so it is treated as out of range.
        Bson::Decimal128(_) => Some(i64::MAX),
        _ => None,
    }
}

fn apply(change: &Change, document: &mut Vec<u8>, real: &[Vec<u8>]) {
    let stretch = |one: &Index, other: &Index, length: usize| {
        let (one, other) = (one.index(length), other.index(length));
        one.min(other)..one.max(other)
    };
    match change {
        Change::FlipBits(bits) => bits.iter().for_each(|(at, bit)| *at.get_mut(document) ^= 1 << bit),
        Change::Place(at, byte) => *at.get_mut(document) = *byte,
        // The closing byte stays, or the decoder would only see the frame.
        Change::Truncate(at) => {
            document.truncate(at.index(document.len()));
            document.push(0);
        }
        Change::Splice(from, other, to) => {
            let other = other.get(real);
            document.truncate(from.index(document.len()));
            document.extend_from_slice(&other[to.index(other.len())..]);
        }
        Change::Repeat(one, other) => {
            let stretch = stretch(one, other, document.len());
            let again = document[stretch.clone()].to_vec();
            document.splice(stretch.end..stretch.end, again);
        }
        Change::Cut(one, other) => drop(document.drain(stretch(one, other, document.len()))),
    }
}

struct Changed([Vec<Vec<u8>>; 2]);

impl Source for Changed {
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
        let column = usize::from(parameter.as_str() == PARAMETERS[1]);
        Ok(Box::new(List(self.0[column].clone().into_iter())))
    }
}

/// The plan of one of the kinds of exports whose decoding differs.
fn plan_of(kind: u8) -> Plan {
    let request = ReferenceRequest { from_ms: FROM_MS, to_ms: TO_MS, ..ReferenceRequest::default() };
    let collections = PARAMETERS.map(|name| (name.to_owned(), Vec::new())).into();
    let vehicles = [SourceVehicle { database: "vehicle_001".to_owned(), collections }];
    let mut plan = plan(&request, &export_documents(&request, &vehicles), &vehicles);
    let output = &mut plan.request.output;
    (output.archive, output.compression) = (Archive::None, Compression::None);
    if kind & 1 != 0 {
        output.format = Format::Parquet;
    }
    if kind & 2 != 0 {
        output.step_ms = NonZeroU64::new(900_000);
        output.fill = Some(if kind & 4 == 0 { Fill::None } else { Fill::Previous });
    }
    plan
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn changed_documents_give_the_same_in_all_slices(
        changes in vec((any::<Index>(), change()), 1..5), kind in select(vec![0_u8, 0, 0, 0, 1, 2, 3, 6]),
        slice_bytes in select(vec![1_usize, 700]), threads in 1..=3_usize,
    ) {
        let source = Changed(changed(real(), &changes));
        let plan = plan_of(kind);
        let whole = export(&plan, &source, 1 << 20, 1).expect("an export").written;
        let sliced = export(&plan, &source, slice_bytes, threads).expect("an export").written;
        prop_assert!(whole == sliced);
    }
}
