//! From an hour document to points: time and value.
//!
//! A document holds nested buckets: `values` → key → `values` → … → key → value. The time of a
//! point is the document's `_id` plus every key on its path. A bucket is recognised by its
//! structure alone (a document with a `values` document), because the `levels` field, which should
//! describe the nesting, is missing or wrong in real data.

use export_core::manifest::Sample;
use export_core::range::HOUR_MS;
use export_core::{Parameter, TimeRange};

use super::column::{Cell, Column};
use super::element::{Element, Elements, Malformed, kind, parse_key};
use super::hour::{HourDocument, Unusable};
use super::samples::Reason;
use super::tally::Tally;

/// Nesting of buckets above which a document is refused. MongoDB stores no document nested deeper.
const MAX_DEPTH: usize = 100;

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
    if let Some(Unusable { reason, id, count }) = &document.unusable {
        if !scope.is_carried {
            tally.rejected_documents.add(*reason, *count, || document_sample(parameter, id.clone()));
        }
        return;
    }
    let mark = column.mark();
    let mut decode_in = |order| {
        let mut decoder = Decoder {
            document,
            parameter,
            scope,
            order,
            path: Vec::new(),
            column: &mut *column,
            tally: Tally::default(),
        };
        let outcome = decoder.decode_document();
        let document_tally = decoder.tally;
        if outcome.is_err() {
            column.roll_back(mark);
        }
        outcome.map(|()| document_tally)
    };
    let outcome = match decode_in(KeyOrder::AsStored) {
        Err(Stop::OutOfOrder) => decode_in(KeyOrder::Sorted),
        outcome => outcome,
    };
    match outcome {
        Ok(document_tally) => tally.merge(document_tally),
        Err(Stop::Document(reason)) => {
            if !scope.is_carried {
                tally
                    .rejected_documents
                    .add(reason, 1, || document_sample(parameter, document.start_ms.to_string()));
            }
        }
        // Decoding with sorted keys never ends this way.
        Err(Stop::OutOfOrder) => {}
    }
}

/// The sample of a rejected document.
fn document_sample(parameter: &Parameter, document: String) -> Sample {
    Sample { parameter: parameter.as_str().to_owned(), document, path: String::new() }
}

/// The order in which the keys of a bucket are visited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyOrder {
    /// As stored, which is nearly always ascending. Ends with [`Stop::OutOfOrder`] if it is not.
    AsStored,
    /// In numeric order, keys that are not numbers last. Slower: each bucket is gathered and
    /// sorted.
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
    /// Keys of the buckets around the current one, outermost first.
    path: Vec<&'a [u8]>,
    column: &'c mut Column,
    tally: Tally,
}

impl<'a> Decoder<'a, '_> {
    fn decode_document(&mut self) -> Result<(), Stop> {
        // Reads to the end of the document, so that damage after `values` is found too.
        let mut fields = Elements::of(&self.document.bytes)?;
        let mut values = None;
        while let Some(field) = fields.next()? {
            if values.is_none() && field.key == b"values" {
                values = Some(field);
            }
        }
        match values {
            Some(values) if values.kind == kind::DOCUMENT => self.decode_bucket(values.value, Some(0)),
            _ => Err(Stop::Document(Reason::MissingValues)),
        }
    }

    /// Reads one bucket's children. `offset_ms` is the sum of the keys so far, `None` if one of
    /// them is not a number.
    fn decode_bucket(&mut self, values: &'a [u8], offset_ms: Option<i64>) -> Result<(), Stop> {
        match self.order {
            KeyOrder::AsStored => {
                let mut children = Elements::of(values)?;
                let mut last_key = None;
                while let Some((child, key)) = children.next_keyed()? {
                    // `None < Some(_)`, so a key that is not a number counts as out of order, also
                    // as the first key.
                    if key <= last_key {
                        return Err(Stop::OutOfOrder);
                    }
                    last_key = key;
                    self.decode_child(child, key, offset_ms)?;
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
                    self.decode_child(child, key, offset_ms)?;
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn decode_child(
        &mut self,
        child: Element<'a>,
        key: Option<i64>,
        offset_ms: Option<i64>,
    ) -> Result<(), Stop> {
        let child_offset_ms = offset_ms.zip(key).and_then(|(offset_ms, key)| offset_ms.checked_add(key));
        // Nearly all children are numbers in the window, so these are tested first.
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
                self.decode_bucket(inner.value, child_offset_ms)?;
                self.path.pop();
                return Ok(());
            }
        }
        self.decode_point(child, child_offset_ms)
    }

    fn decode_point(&mut self, point: Element<'a>, offset_ms: Option<i64>) -> Result<(), Stop> {
        // Counted first, so that a point lost by a bug below makes the export fail when the counts
        // are reconciled.
        self.tally.counts.points_read += u64::from(!self.scope.is_carried);
        let Some(offset_ms) = offset_ms else {
            self.reject(Reason::InvalidKey, point.key);
            return Ok(());
        };
        // The value's type is checked before its time, but texts are kept only for points of the
        // window.
        if let Some(reason) = unsupported(point.kind) {
            self.reject(reason, point.key);
            return Ok(());
        }
        if !(0..HOUR_MS).contains(&offset_ms) {
            self.reject(Reason::OutsideHour, point.key);
            return Ok(());
        }
        // Checked even outside the window, so that every slice with this document accepts or
        // refuses it alike.
        match point.kind {
            kind::STRING => point.text().map(drop)?,
            kind::BOOL => point.boolean().map(drop)?,
            _ => {}
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
            // `unsupported` refuses all other kinds.
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
