//! The reading half: from one vehicle's documents to valid points by time, and counts of all
//! others.

use std::collections::BTreeMap;

use bson::Bson;

use super::stored::{Fields, Id, StoredDocument, read_fields};
use super::walk::{self, Entry, Inside};
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
    pub(super) rejected_buckets: BTreeMap<String, Rejections>,
    pub(super) rejected_documents: BTreeMap<String, Rejections>,
}

/// A rejected item, and its position among all of them: by hour, then by column. Within these the
/// input order is kept.
struct Rejected {
    hour_ms: i64,
    column: usize,
    reason: &'static str,
    /// What is in it; `None` for a point.
    inside: Option<Inside>,
    sample: ReferenceSample,
}

/// Reads the vehicle's collections of these columns.
pub(super) fn read_vehicle(
    request: &ReferenceRequest,
    columns: &[String],
    source: &SourceVehicle,
) -> Reading {
    let mut reading = Reading::default();
    let (mut points, mut buckets, mut documents) = (Vec::new(), Vec::new(), Vec::new());
    for (column, name) in columns.iter().enumerate() {
        let mut cells = BTreeMap::new();
        let stored = source.collections.get(name);
        if stored.is_none() {
            reading.missing_collections.push(name.clone());
        }
        for document in in_order(request, stored.map_or(&[], Vec::as_slice)) {
            let rejected = |reason, path, inside| Rejected {
                hour_ms: document.place_ms,
                column,
                reason,
                inside,
                sample: ReferenceSample { parameter: name.clone(), document: document.id.clone(), path },
            };
            let entries = match (&document.start_ms, &document.fields) {
                (Ok(hour_ms), Some(fields)) => walk::entries(fields, *hour_ms),
                (Ok(_), None) => Err("malformed"),
                (Err(reason), _) => Err(*reason),
            };
            let entries = match entries {
                Ok(entries) => entries,
                Err(reason) => {
                    let inside = walk::inside(document.fields.as_ref());
                    reading.points_read += inside.points;
                    documents.push(rejected(reason, String::new(), Some(inside)));
                    continue;
                }
            };
            for entry in entries {
                match entry {
                    Entry::Point(time_ms, value) => reading.take(request, time_ms, value, &mut cells),
                    Entry::Rejected(reason, path) => {
                        reading.points_read += 1;
                        points.push(rejected(reason, path, None));
                    }
                    Entry::Bucket(reason, path, inside) => {
                        reading.points_read += inside.points;
                        buckets.push(rejected(reason, path, Some(inside)));
                    }
                }
            }
        }
        reading.columns.push(cells);
    }
    reading.rejected_points = by_reason(points);
    reading.rejected_buckets = by_reason(buckets);
    reading.rejected_documents = by_reason(documents);
    reading
}

impl Reading {
    /// Counts a point, and keeps it if it is of the range.
    fn take(
        &mut self,
        request: &ReferenceRequest,
        time_ms: i64,
        value: &Bson,
        cells: &mut BTreeMap<i64, Bson>,
    ) {
        self.points_read += 1;
        if !(request.from_ms..request.to_ms).contains(&time_ms) {
            self.outside_range += 1;
        } else if cells.insert(time_ms, value.clone()).is_some() {
            self.duplicates += 1;
        }
    }
}

fn by_reason(mut all: Vec<Rejected>) -> BTreeMap<String, Rejections> {
    // Stable, so that documents of one hour keep their order in the collection, and points and
    // buckets their order in the document.
    all.sort_by_key(|rejected| (rejected.hour_ms, rejected.column));
    let mut reasons: BTreeMap<String, Rejections> = BTreeMap::new();
    for rejected in all {
        let reason = reasons.entry(rejected.reason.to_owned()).or_default();
        reason.count += 1;
        if let Some(inside) = rejected.inside {
            reason.points = Some(reason.points.unwrap_or(0) + inside.points);
            reason.uncounted += u64::from(inside.is_cut);
        }
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
    /// Its start, or the reason why the whole document is rejected.
    start_ms: Result<i64, &'static str>,
    /// Its content, if the length and the closing byte are right.
    fields: Option<Fields>,
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
        let fields = read_fields(&document.bytes());
        let id = Id::of(fields.as_ref());
        if !is_read(request, &id) {
            continue;
        }
        let first_ms = id.value().and_then(walk::integral);
        last_ms = first_ms.unwrap_or(last_ms);
        let start_ms = match (&id, first_ms) {
            (Id::First(_), _) => Err("repeatedId"),
            (Id::Unreadable, _) => Err("malformed"),
            (_, first_ms) => first_ms.ok_or("invalidId"),
        };
        let id = start_ms.map_or_else(|_| id.text(), |start_ms| start_ms.to_string());
        documents.push(ReadDocument { place_ms: last_ms, id, start_ms, fields });
    }
    // Stable: a document without a position of its own stays behind its predecessor.
    documents.sort_by_key(|document| document.place_ms);
    documents
}

#[expect(clippy::cast_precision_loss, reason = "ranges are far below 2^53 ms")]
fn is_read(request: &ReferenceRequest, id: &Id) -> bool {
    id.value()
        .and_then(walk::comparable)
        .is_none_or(|id| id >= request.from_ms.saturating_sub(REACH_MS) as f64 && id < request.to_ms as f64)
}
