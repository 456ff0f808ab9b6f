//! From an hour document to points: time and value.
//!
//! A document holds nested buckets: `values` → key → `values` → … → key → value. A point's time is the document's `_id`
//! plus every key on its path. What is a bucket is told by its structure alone (a document that has a `values` document);
//! the `levels` field that should say so is missing or wrong in real data.

use bytes::Bytes;
use export_core::manifest::{SAMPLES_PER_REASON, Sample};
use export_core::range::HOUR_MS;
use export_core::{Parameter, TimeRange};

use crate::column::{Cell, Column};
use crate::element::{Element, Elements, Malformed, kind, parse_key};
use crate::tally::{Reason, Tally};

/// Buckets inside buckets beyond which a document is refused: MongoDB itself stores no document nested deeper.
const MAX_DEPTH: usize = 100;

/// An hour document as it came from the source, with its `_id` read.
#[derive(Clone, Debug)]
pub(crate) struct HourDocument {
    /// The `_id`; for a document without a usable one, that of the document before it, so that it keeps its place.
    pub(crate) start_ms: i64,
    /// Empty where the document cannot be used: a file of a dump may hold millions of those in one place.
    pub(crate) bytes: Bytes,
    /// What there is to tell of a document that cannot be used, where its `_id` shows that already.
    pub(crate) unusable: Option<Unusable>,
}

/// Documents that cannot be used.
#[derive(Clone, Debug)]
pub(crate) struct Unusable {
    reason: Reason,
    /// The `_id` of the first of them, as text.
    id: String,
    /// How many: one, or one that is shown and all like it that are not.
    count: u64,
}

impl HourDocument {
    /// Reads the `_id` of a raw document. `before_ms` is the start of the document before it.
    pub(crate) fn parse(bytes: Bytes, before_ms: i64) -> Self {
        let reason = match read_id(&bytes) {
            Ok(Some(start_ms)) => return Self { start_ms, bytes, unusable: None },
            Ok(None) => Reason::InvalidId,
            Err(Malformed) => Reason::Malformed,
        };
        let unusable = Unusable { reason, id: describe_id(&bytes), count: 1 };
        Self { start_ms: before_ms, bytes: Bytes::new(), unusable: Some(unusable) }
    }

    /// Adds the document to a column's documents. Of those in one place that cannot be used for one reason, only so many are kept
    /// as are shown; the last of them counts the rest.
    pub(crate) fn add_to(self, documents: &mut Vec<Self>) {
        if let Some(unusable) = &self.unusable {
            let here = documents.iter_mut().rev().take_while(|document| document.start_ms == self.start_ms);
            let mut alike = here
                .filter_map(|document| document.unusable.as_mut())
                .filter(|u| u.reason == unusable.reason);
            if let Some(last) = alike.next()
                && alike.count() + 1 >= SAMPLES_PER_REASON
            {
                last.count += unusable.count;
                return;
            }
        }
        documents.push(self);
    }

    /// Whether points of the document may lie at this time or after it.
    pub(crate) fn reaches(&self, time_ms: i64) -> bool {
        self.unusable.is_none() && self.start_ms + HOUR_MS > time_ms
    }
}

/// The `_id` in unix milliseconds, where it is an integral number of any numeric type.
fn read_id(bytes: &[u8]) -> Result<Option<i64>, Malformed> {
    match Elements::of(bytes)?.find(b"_id")? {
        Some(id) => time_of(id),
        None => Ok(None),
    }
}

/// The value of an `_id` in unix milliseconds, as by [`read_id`].
pub(crate) fn time_of(id: Element<'_>) -> Result<Option<i64>, Malformed> {
    let start_ms = match id.kind {
        kind::INT32 => Some(i64::from(id.int32()?)),
        kind::INT64 => Some(id.int64()?),
        kind::DOUBLE => integral(id.double()?),
        kind::DECIMAL128 => integral_decimal(&id.decimal()?.to_string()),
        _ => None,
    };
    Ok(start_ms.filter(|start_ms| (TimeRange::MIN_MS - HOUR_MS..=TimeRange::MAX_MS).contains(start_ms)))
}

fn integral(value: f64) -> Option<i64> {
    // Times of the years 1 to 9999 are far below 2^53, where every integer is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be integral and below 2^53")]
    (value.fract() == 0.0 && value.abs() < EXACT).then_some(value as i64)
}

/// A Decimal128 by its text: a sign, at most 34 digits with a point among them, and an exponent perhaps.
fn integral_decimal(text: &str) -> Option<i64> {
    let (mantissa, exponent) = text.split_once('E').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let exponent = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
    if digits == 0 {
        return Some(0);
    }
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let value = if exponent >= 0 {
        digits.checked_mul(power)?
    } else if digits % power == 0 {
        digits / power
    } else {
        return None;
    };
    i64::try_from(value).ok()
}

/// The `_id` of a document that cannot be used, as text for the manifest.
fn describe_id(bytes: &[u8]) -> String {
    let id = Elements::of(bytes).and_then(|elements| elements.find(b"_id"));
    match id {
        Ok(Some(id)) => match id.kind {
            kind::INT32 => id.int32().map(|id| id.to_string()),
            kind::INT64 => id.int64().map(|id| id.to_string()),
            kind::DOUBLE => id.double().map(|id| id.to_string()),
            kind::STRING => id.text().map(|text| text.chars().take(64).collect()),
            kind => Ok(format!("a value of BSON type {kind:#04x}")),
        }
        .unwrap_or_else(|Malformed| "unreadable".to_owned()),
        Ok(None) => "missing".to_owned(),
        Err(Malformed) => "unreadable".to_owned(),
    }
}

/// Which points of a document are wanted where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// The export's range.
    pub(crate) range: TimeRange,
    /// The part of it that this slice writes.
    pub(crate) window: TimeRange,
    /// Whether an earlier slice had this document first, and counted what belongs to no slice.
    pub(crate) is_carried: bool,
}

/// Adds a document's points to the column, and counts each of its points exactly once over all slices.
pub(crate) fn decode(
    document: &HourDocument,
    parameter: &Parameter,
    scope: Scope,
    column: &mut Column,
    tally: &mut Tally,
) {
    if let Some(Unusable { reason, id, count }) = &document.unusable {
        if !scope.is_carried {
            tally.reject_documents(*reason, *count, || document_sample(parameter, id.clone()));
        }
        return;
    }
    let mark = column.mark();
    for order in [KeyOrder::AsStored, KeyOrder::Sorted] {
        let mut decoder = Decoder {
            document,
            parameter,
            scope,
            order,
            path: Vec::new(),
            column: &mut *column,
            tally: Tally::default(),
        };
        let outcome = decoder.document();
        let document_tally = decoder.tally;
        let rejected_for = match outcome {
            Ok(()) => {
                tally.merge(document_tally);
                return;
            }
            Err(Stop::OutOfOrder) => None,
            Err(Stop::Document(reason)) => Some(reason),
        };
        column.roll_back(mark);
        if let Some(reason) = rejected_for {
            if !scope.is_carried {
                tally.reject_documents(reason, 1, || {
                    document_sample(parameter, document.start_ms.to_string())
                });
            }
            return;
        }
    }
}

/// The sample of a rejected document.
fn document_sample(parameter: &Parameter, document: String) -> Sample {
    Sample { parameter: parameter.as_str().to_owned(), document, path: String::new() }
}

/// How the keys of a bucket are gone through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyOrder {
    /// As they are stored, which nearly always is ascending; ends with [`Stop::OutOfOrder`] where it is not.
    AsStored,
    /// In numeric order, keys that are no numbers last. Slower: each bucket is gathered and sorted.
    Sorted,
}

/// Why decoding ended early.
enum Stop {
    OutOfOrder,
    Document(Reason),
}

impl From<Malformed> for Stop {
    fn from(Malformed: Malformed) -> Self {
        Self::Document(Reason::Malformed)
    }
}

struct Decoder<'a, 'c> {
    document: &'a HourDocument,
    parameter: &'a Parameter,
    scope: Scope,
    order: KeyOrder,
    /// Keys of the buckets that are open.
    path: Vec<&'a [u8]>,
    column: &'c mut Column,
    tally: Tally,
}

impl<'a> Decoder<'a, '_> {
    fn document(&mut self) -> Result<(), Stop> {
        // To the end, so that damage behind the values is seen too.
        let mut fields = Elements::of(&self.document.bytes)?;
        let mut values = None;
        while let Some(field) = fields.next()? {
            if values.is_none() && field.key == b"values" {
                values = Some(field);
            }
        }
        match values {
            Some(values) if values.kind == kind::DOCUMENT => self.bucket(values.value, Some(0)),
            _ => Err(Stop::Document(Reason::MissingValues)),
        }
    }

    /// One bucket's children. `offset_ms` is the sum of the keys so far, `None` where one of them was no number.
    fn bucket(&mut self, values: &'a [u8], offset_ms: Option<i64>) -> Result<(), Stop> {
        match self.order {
            KeyOrder::AsStored => {
                let mut children = Elements::of(values)?;
                let mut last_key = None;
                while let Some((child, key)) = children.next_keyed()? {
                    // A key that is no number is less than none here, so it is sent to the other order too.
                    if key <= last_key {
                        return Err(Stop::OutOfOrder);
                    }
                    last_key = key;
                    self.child(child, key, offset_ms)?;
                }
            }
            KeyOrder::Sorted => {
                let mut children = Elements::of(values)?;
                let mut gathered = Vec::new();
                while let Some(child) = children.next()? {
                    gathered.push((parse_key(child.key), child));
                }
                gathered.sort_by_key(|(key, _)| (key.is_none(), *key));
                for (key, child) in gathered {
                    self.child(child, key, offset_ms)?;
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn child(&mut self, child: Element<'a>, key: Option<i64>, offset_ms: Option<i64>) -> Result<(), Stop> {
        let child_offset_ms = offset_ms.zip(key).and_then(|(offset_ms, key)| offset_ms.checked_add(key));
        // What nearly all children are, before all that they may be.
        if matches!(child.kind, kind::INT32 | kind::DOUBLE)
            && let Some(offset_ms) = child_offset_ms
            && (0..HOUR_MS).contains(&offset_ms)
            && self.scope.window.contains(self.document.start_ms + offset_ms)
        {
            self.tally.counts.points_read += u64::from(!self.scope.is_carried);
            let cell = match child.kind {
                kind::INT32 => Cell::Int(i64::from(child.int32()?)),
                _ => Cell::Double(child.double()?),
            };
            self.column.push(self.document.start_ms + offset_ms, cell);
            return Ok(());
        }
        if child.kind == kind::DOCUMENT {
            let inner = Elements::of(child.value)?.find(b"values")?;
            if let Some(inner) = inner.filter(|inner| inner.kind == kind::DOCUMENT) {
                if self.path.len() == MAX_DEPTH {
                    return Err(Stop::Document(Reason::Malformed));
                }
                self.path.push(child.key);
                self.bucket(inner.value, child_offset_ms)?;
                self.path.pop();
                return Ok(());
            }
        }
        self.point(child, child_offset_ms)
    }

    fn point(&mut self, point: Element<'a>, offset_ms: Option<i64>) -> Result<(), Stop> {
        // Counted before anything is decided, so that a point which then goes nowhere is missed when the counts are added up.
        self.tally.counts.points_read += u64::from(!self.scope.is_carried);
        let Some(offset_ms) = offset_ms else {
            self.reject(Reason::InvalidKey, point.key);
            return Ok(());
        };
        // Whether the value can be exported comes before where it lies, but its text is kept only for points wanted.
        if let Some(reason) = unsupported(point.kind) {
            self.reject(reason, point.key);
            return Ok(());
        }
        if !(0..HOUR_MS).contains(&offset_ms) {
            self.reject(Reason::OutsideHour, point.key);
            return Ok(());
        }
        if matches!(point.kind, kind::STRING | kind::BOOL) {
            // Read here, wanted or not, so that every slice that sees this document judges it alike.
            Self::check(point)?;
        }
        let time_ms = self.document.start_ms + offset_ms;
        if self.scope.window.contains(time_ms) {
            let cell = self.cell(point)?;
            self.column.push(time_ms, cell);
        } else if !self.scope.range.contains(time_ms) && !self.scope.is_carried {
            self.tally.counts.outside_range += 1;
        }
        Ok(())
    }

    fn check(point: Element<'a>) -> Result<(), Malformed> {
        match point.kind {
            kind::STRING => point.text().map(drop),
            _ => point.boolean().map(drop),
        }
    }

    #[inline]
    fn cell(&mut self, point: Element<'a>) -> Result<Cell, Stop> {
        Ok(match point.kind {
            kind::DOUBLE => Cell::Double(point.double()?),
            kind::INT32 => Cell::Int(i64::from(point.int32()?)),
            kind::INT64 => Cell::Int(point.int64()?),
            kind::BOOL => Cell::Bool(point.boolean()?),
            kind::NULL => Cell::Null,
            kind::STRING => Cell::Text(self.column.keep_text(point.text()?).ok_or(Malformed)?),
            kind::DECIMAL128 => {
                Cell::Number(self.column.keep_text(&point.decimal()?.to_string()).ok_or(Malformed)?)
            }
            // `unsupported` lets no other kind through.
            _ => return Err(Stop::Document(Reason::Malformed)),
        })
    }

    fn reject(&mut self, reason: Reason, key: &[u8]) {
        if self.scope.is_carried {
            return;
        }
        let (document, parameter, path) = (self.document, self.parameter, &self.path);
        self.tally.reject_point(reason, || {
            let keys = path.iter().copied().chain([key]);
            let path: Vec<_> = keys.map(String::from_utf8_lossy).collect();
            Sample {
                parameter: parameter.as_str().to_owned(),
                document: document.start_ms.to_string(),
                path: path.join("/").chars().take(200).collect(),
            }
        });
    }
}

/// Why a value of this type cannot be a cell, if it cannot.
#[inline]
fn unsupported(kind: u8) -> Option<Reason> {
    match kind {
        kind::DOUBLE
        | kind::INT32
        | kind::INT64
        | kind::BOOL
        | kind::NULL
        | kind::STRING
        | kind::DECIMAL128 => None,
        kind::DOCUMENT => Some(Reason::DocumentValue),
        _ => Some(Reason::UnsupportedType),
    }
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
