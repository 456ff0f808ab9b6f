//! From an hour document to points: time and value.
//!
//! A document holds nested buckets: `values` → key → `values` → … → key → value. The time of a
//! point is the document's `_id` plus every key on its path. A bucket is recognised by its
//! structure alone (a document with a `values` that is a document or an array), because the
//! `levels` field, which should describe the nesting, is missing or wrong in real data.
//!
//! **Faults.** BSON may hold what no driver writes: fields with one name, texts that are not UTF-8,
//! elements that cannot be read. A bad value costs itself. An element that cannot be read costs the
//! rest of its bucket, because nothing says where the next one begins; the buckets around it have
//! lengths of their own. All fields `values` of a bucket are read, in their stored order.

use export_core::manifest::Sample;
use export_core::range::HOUR_MS;
use export_core::{Parameter, TimeRange};

use super::column::{Cell, Column};
use super::count::{points_of_child, points_of_document};
use super::element::{Element, Elements, Malformed, kind};
use super::hour::{HourDocument, Unusable};
use super::origins::BucketId;
use super::samples::{Inside, Reason};
use super::tally::Tally;

/// Nesting of buckets above which a bucket is not read. MongoDB stores no document nested deeper.
const MAX_DEPTH: usize = 100;

/// Longest text of a cell, in bytes. A text is copied several times on its way into a file, so one of
/// 16 MiB would take more memory than an export has. A spreadsheet's cell holds 32,767 characters.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// Which points of a document belong to a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// The export's range.
    pub(crate) range: TimeRange,
    /// The part of it that this slice writes.
    pub(crate) window: TimeRange,
    /// Whether an earlier slice has decoded this document already. Then all its points are counted,
    /// and this slice only adds the points of its window to the column.
    pub(crate) is_carried: bool,
}

/// Adds a document's points to the column. Each point is counted exactly once over all slices.
pub(crate) fn decode(
    document: &HourDocument,
    parameter: &Parameter,
    scope: Scope,
    column: &mut Column,
    tally: &mut Tally,
) {
    if let Some(Unusable { reason, id, count, inside }) = &document.unusable {
        if !scope.is_carried {
            tally.counts.points_read += inside.points;
            tally.reject_documents(*reason, *count, *inside, || document_sample(parameter, id.clone()));
        }
        return;
    }
    let survey = Survey::of(&document.bytes);
    if !scope.is_carried {
        let inside = points_of_document(&document.bytes);
        tally.counts.points_read += inside.points;
        if !survey.has_values {
            let reason = if survey.is_whole { Reason::MissingValues } else { Reason::Malformed };
            let sample = || document_sample(parameter, document.start_ms.to_string());
            tally.reject_documents(reason, 1, inside, sample);
        }
    }
    if survey.has_values {
        let bucket = column.begin_document(document.start_ms);
        let mut decoder = Decoder { document, parameter, scope, bucket, path: Vec::new(), column, tally };
        decoder.decode_fields(&document.bytes, Some(0));
    }
}

/// The sample of a rejected document.
fn document_sample(parameter: &Parameter, document: String) -> Sample {
    Sample { parameter: parameter.as_str().to_owned(), document, path: String::new() }
}

/// A first look at the fields of a document.
#[derive(Clone, Copy, Debug, Default)]
struct Survey {
    /// Whether one of them is called `values` and is a document or an array.
    has_values: bool,
    /// Whether all of them can be read.
    is_whole: bool,
}

impl Survey {
    fn of(document: &[u8]) -> Self {
        let mut survey = Self::default();
        let Ok(mut fields) = Elements::of(document) else { return survey };
        loop {
            match fields.next() {
                Ok(Some(field)) => survey.has_values |= field.key == b"values" && is_nested(field.kind),
                Ok(None) => return Self { is_whole: true, ..survey },
                Err(Malformed) => return survey,
            }
        }
    }
}

fn is_nested(kind: u8) -> bool {
    matches!(kind, kind::DOCUMENT | kind::ARRAY)
}

/// A step on the path to a point.
#[derive(Clone, Copy)]
enum Step<'a> {
    /// The key of a document's element.
    Key(&'a [u8]),
    /// The position in an array.
    Index(i64),
}

struct Decoder<'a, 'c> {
    document: &'a HourDocument,
    parameter: &'a Parameter,
    scope: Scope,
    /// The bucket whose children are being read, as the column knows it.
    bucket: BucketId,
    /// Steps to the current bucket, outermost first.
    path: Vec<Step<'a>>,
    column: &'c mut Column,
    tally: &'c mut Tally,
}

impl<'a> Decoder<'a, '_> {
    /// Reads the fields of the document or of a bucket. `offset_ms` is the sum of the keys so far,
    /// `None` if one of them is not a number.
    fn decode_fields(&mut self, document: &'a [u8], offset_ms: Option<i64>) {
        let Ok(mut fields) = Elements::of(document) else { return self.reject_rest() };
        loop {
            match fields.next() {
                Ok(Some(field)) if field.key == b"values" => {
                    if is_nested(field.kind) {
                        self.decode_values(field, offset_ms);
                    } else {
                        self.reject(Reason::NotABucket, None);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(Malformed) => return self.reject_rest(),
            }
        }
    }

    /// Reads the children in one field `values`.
    fn decode_values(&mut self, values: Element<'a>, offset_ms: Option<i64>) {
        let Ok(children) = Elements::of(values.value) else { return self.reject_rest() };
        let outer = self.bucket;
        if let Some(offset_ms) = offset_ms {
            self.bucket = self.column.enter_bucket(outer, offset_ms);
        }
        if values.kind == kind::ARRAY {
            self.decode_array(children, offset_ms);
        } else {
            self.decode_children(children, offset_ms);
        }
        self.bucket = outer;
    }

    fn decode_children(&mut self, mut children: Elements<'a>, offset_ms: Option<i64>) {
        loop {
            match children.next_keyed() {
                Ok(Some((child, key))) => self.decode_child(child, Step::Key(child.key), key, offset_ms),
                Ok(None) => return,
                Err(Malformed) => return self.reject_rest(),
            }
        }
    }

    /// Like [`decode_children`](Self::decode_children), but the key of a child is its position,
    /// whatever key is stored: MongoDB and its drivers see an array in this way.
    fn decode_array(&mut self, mut children: Elements<'a>, offset_ms: Option<i64>) {
        for index in 0.. {
            match children.next() {
                Ok(Some(child)) => self.decode_child(child, Step::Index(index), Some(index), offset_ms),
                Ok(None) => return,
                Err(Malformed) => return self.reject_rest(),
            }
        }
    }

    #[inline]
    fn decode_child(&mut self, child: Element<'a>, step: Step<'a>, key: Option<i64>, offset_ms: Option<i64>) {
        let child_offset_ms = offset_ms.zip(key).and_then(|(offset_ms, key)| offset_ms.checked_add(key));
        // Nearly all children are numbers in the window, so these are tested first.
        if let Some(offset_ms) = child_offset_ms
            && (0..HOUR_MS).contains(&offset_ms)
            && self.scope.window.contains(self.document.start_ms + offset_ms)
        {
            let number = match child.kind {
                kind::INT32 => child.int32().map(|value| Cell::Int(i64::from(value))).ok(),
                kind::DOUBLE => child.double().map(Cell::Double).ok(),
                _ => None,
            };
            if let Some(cell) = number {
                self.column.push(self.document.start_ms + offset_ms, cell);
                return;
            }
        }
        if child.kind == kind::DOCUMENT {
            let survey = Survey::of(child.value);
            if survey.has_values || !survey.is_whole {
                self.decode_bucket(child, step, survey, child_offset_ms);
                return;
            }
        }
        self.decode_point(child, step, child_offset_ms);
    }

    fn decode_bucket(&mut self, child: Element<'a>, step: Step<'a>, survey: Survey, offset_ms: Option<i64>) {
        let depth = self.path.len();
        self.path.push(step);
        if !survey.has_values {
            self.reject_rest();
        } else if depth == MAX_DEPTH {
            self.reject_bucket(Reason::TooDeep, || points_of_child(child.value, depth));
        } else {
            self.decode_fields(child.value, offset_ms);
            self.column.return_to(self.bucket);
        }
        self.path.pop();
    }

    fn decode_point(&mut self, point: Element<'a>, step: Step<'a>, offset_ms: Option<i64>) {
        let Some(offset_ms) = offset_ms else { return self.reject(Reason::InvalidKey, Some(step)) };
        if let Some(reason) = unsupported(point.kind) {
            return self.reject(reason, Some(step));
        }
        let time_ms = Some(offset_ms)
            .filter(|offset_ms| (0..HOUR_MS).contains(offset_ms))
            .map(|offset_ms| self.document.start_ms + offset_ms);
        if let Some(time_ms) = time_ms.filter(|time_ms| self.scope.window.contains(*time_ms)) {
            match self.cell(point) {
                Ok(cell) => self.column.push(time_ms, cell),
                Err(reason) => self.reject(reason, Some(step)),
            }
        } else if self.scope.is_carried {
            // An earlier slice has counted it, or a later one will export it.
        } else if let Err(reason) = check(point) {
            self.reject(reason, Some(step));
        } else if let Some(time_ms) = time_ms {
            self.tally.counts.outside_range += u64::from(!self.scope.range.contains(time_ms));
        } else {
            self.reject(Reason::OutsideHour, Some(step));
        }
    }

    /// The value of a point whose type is supported.
    fn cell(&mut self, point: Element<'a>) -> Result<Cell, Reason> {
        check(point)?;
        self.checked_cell(point).map_err(|Malformed| Reason::InvalidValue)
    }

    fn checked_cell(&mut self, point: Element<'a>) -> Result<Cell, Malformed> {
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
            // `unsupported` refuses all other kinds.
            _ => return Err(Malformed),
        })
    }

    /// Counts a point of the current bucket, or without a step a field `values` of it.
    fn reject(&mut self, reason: Reason, step: Option<Step<'a>>) {
        if self.scope.is_carried {
            return;
        }
        let (document, parameter, path) = (self.document, self.parameter, &self.path);
        self.tally.reject_point(reason, || point_sample(document, parameter, path, step));
    }

    /// Counts the rest of the current bucket, which cannot be read.
    fn reject_rest(&mut self) {
        self.reject_bucket(Reason::Malformed, || Inside { points: 0, uncounted: 1 });
    }

    fn reject_bucket(&mut self, reason: Reason, inside: impl FnOnce() -> Inside) {
        if self.scope.is_carried {
            return;
        }
        let (document, parameter, path) = (self.document, self.parameter, &self.path);
        self.tally.reject_bucket(reason, inside(), || point_sample(document, parameter, path, None));
    }
}

/// The sample of a point or a bucket.
fn point_sample(
    document: &HourDocument,
    parameter: &Parameter,
    path: &[Step<'_>],
    last: Option<Step<'_>>,
) -> Sample {
    /// Longer paths are cut. A character has at most four bytes.
    const MAX_CHARACTERS: usize = 200;
    let mut text = String::new();
    for (number, step) in path.iter().copied().chain(last).take(MAX_CHARACTERS).enumerate() {
        if number > 0 {
            text.push('/');
        }
        match step {
            Step::Key(key) => {
                text.push_str(&String::from_utf8_lossy(&key[..key.len().min(4 * MAX_CHARACTERS)]));
            }
            Step::Index(index) => text.push_str(&index.to_string()),
        }
    }
    Sample {
        parameter: parameter.as_str().to_owned(),
        document: document.start_ms.to_string(),
        path: text.chars().take(MAX_CHARACTERS).collect(),
    }
}

/// Checks the bytes of a value of a supported type.
fn check(point: Element<'_>) -> Result<(), Reason> {
    match point.kind {
        kind::STRING => match point.text() {
            Ok(text) if text.len() > MAX_TEXT_BYTES => Err(Reason::TextTooLong),
            Ok(_) => Ok(()),
            Err(Malformed) => Err(Reason::InvalidValue),
        },
        kind::BOOL => point.boolean().map(drop).map_err(|Malformed| Reason::InvalidValue),
        _ => Ok(()),
    }
}

/// Why a value of this type cannot be exported; `None` if it can.
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
