//! The reading half: from one vehicle's documents to valid points by time, and counts of all
//! others.

use std::collections::BTreeMap;

use bson::{Bson, RawDocument};

use super::stored::{Fields, Malformed, Stored, StoredDocument, id_text, read_fields, read_id};
use super::walk::{self, Entry};
use super::{ReferenceRequest, ReferenceSample, Rejections, SourceVehicle};

/// A document that begins at most this long before the range reaches into it: one hour less a
/// millisecond.
pub(super) const REACH_MS: i64 = 3_599_999;

/// Samples kept for each reason.
const MOST_SAMPLES: usize = 3;

/// One vehicle as read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Valid points of the range by column and time; of several at one time, the last in path
    /// order.
    pub(super) columns: Vec<BTreeMap<i64, Bson>>,
    /// Columns without a collection.
    pub(super) missing_collections: Vec<String>,
    pub(super) points_read: u64,
    pub(super) outside_range: u64,
    pub(super) duplicates: u64,
    pub(super) rejected_points: BTreeMap<String, Rejections>,
    pub(super) rejected_documents: BTreeMap<String, Rejections>,
}

/// A rejected item, and its position among all of them: by hour, then by column. Within these the
/// input order is kept.
struct Rejected {
    hour_ms: i64,
    column: usize,
    reason: &'static str,
    sample: ReferenceSample,
}

/// Reads the vehicle's collections of these columns.
pub(super) fn read_vehicle(
    request: &ReferenceRequest,
    columns: &[String],
    source: &SourceVehicle,
) -> Reading {
    let mut reading = Reading::default();
    let (mut points, mut documents) = (Vec::new(), Vec::new());
    for (column, name) in columns.iter().enumerate() {
        let mut cells = BTreeMap::new();
        let stored = source.collections.get(name);
        if stored.is_none() {
            reading.missing_collections.push(name.clone());
        }
        for document in in_order(request, stored.map_or(&[], Vec::as_slice)) {
            let rejected = |reason, path| Rejected {
                hour_ms: document.place_ms,
                column,
                reason,
                sample: ReferenceSample { parameter: name.clone(), document: document.id.clone(), path },
            };
            let entries = match &document.content {
                Ok((hour_ms, fields)) => walk::entries(fields, *hour_ms),
                Err(reason) => Err(*reason),
            };
            match entries {
                Err(reason) => documents.push(rejected(reason, String::new())),
                Ok(entries) => {
                    for entry in entries {
                        let no_point = reading.take(request, entry, &mut cells);
                        points.extend(no_point.map(|(reason, path)| rejected(reason, path)));
                    }
                }
            }
        }
        reading.columns.push(cells);
    }
    reading.rejected_points = by_reason(points);
    reading.rejected_documents = by_reason(documents);
    reading
}

impl Reading {
    /// Counts an item, and keeps it if it is a point of the range. Returns the reason and path of
    /// an invalid one.
    fn take(
        &mut self,
        request: &ReferenceRequest,
        entry: Entry<'_>,
        cells: &mut BTreeMap<i64, Bson>,
    ) -> Option<(&'static str, String)> {
        self.points_read += 1;
        match entry {
            Entry::Rejected(reason, path) => return Some((reason, path)),
            Entry::Point(time_ms, value) if (request.from_ms..request.to_ms).contains(&time_ms) => {
                if cells.insert(time_ms, value.clone()).is_some() {
                    self.duplicates += 1;
                }
            }
            Entry::Point(..) => self.outside_range += 1,
        }
        None
    }
}

fn by_reason(mut all: Vec<Rejected>) -> BTreeMap<String, Rejections> {
    // Stable, so that documents of one hour keep their order in the collection, and points their
    // path order.
    all.sort_by_key(|rejected| (rejected.hour_ms, rejected.column));
    let mut reasons: BTreeMap<String, Rejections> = BTreeMap::new();
    for rejected in all {
        let reason = reasons.entry(rejected.reason.to_owned()).or_default();
        reason.count += 1;
        if reason.samples.len() < MOST_SAMPLES {
            reason.samples.push(rejected.sample);
        }
    }
    reasons
}

/// A document that a source gives.
struct ReadDocument {
    /// The hour that determines its position: its own, or that of the document before it.
    place_ms: i64,
    /// The `_id` as samples show it.
    id: String,
    /// Start and content, or the reason why the whole document is rejected.
    content: Result<(i64, Fields), &'static str>,
}

/// The documents that a source gives for this range, in the order in which they count.
///
/// Documents whose numeric `_id` is out of reach are skipped, like in a query, as if they did not
/// exist.
fn in_order(request: &ReferenceRequest, stored: &[StoredDocument]) -> Vec<ReadDocument> {
    let mut documents = Vec::new();
    // The position of a document without a usable `_id`: that of the document before it; the first
    // ones come at the beginning.
    let mut last_ms = i64::MIN;
    for document in stored {
        let bytes = document.bytes();
        let id = read_id(&bytes);
        if !is_read(request, &id) {
            continue;
        }
        let hour_ms = match &id {
            Ok(Some(Stored::Value(value))) => walk::integral(value),
            _ => None,
        };
        let document = if let Some(hour_ms) = hour_ms {
            last_ms = hour_ms;
            let content =
                read_content(&bytes).map(|fields| (hour_ms, fields)).map_err(|Malformed| "malformed");
            ReadDocument { place_ms: hour_ms, id: hour_ms.to_string(), content }
        } else {
            let reason = if id.is_ok() { "invalidId" } else { "malformed" };
            ReadDocument { place_ms: last_ms, id: id_text(id), content: Err(reason) }
        };
        documents.push(document);
    }
    // Stable: a document without a position of its own stays behind its predecessor.
    documents.sort_by_key(|document| document.place_ms);
    documents
}

fn read_content(bytes: &[u8]) -> Result<Fields, Malformed> {
    read_fields(RawDocument::from_bytes(bytes)?)
}

#[expect(clippy::cast_precision_loss, reason = "ranges are far below 2^53 ms")]
fn is_read(request: &ReferenceRequest, id: &Result<Option<Stored>, Malformed>) -> bool {
    let comparable = match id {
        Ok(Some(Stored::Value(id))) => walk::comparable(id),
        _ => None,
    };
    comparable
        .is_none_or(|id| id >= request.from_ms.saturating_sub(REACH_MS) as f64 && id < request.to_ms as f64)
}
