//! What becomes of a vehicle's points and documents, counted as it happens.

use std::collections::BTreeMap;

use export_core::manifest::{Counts, Rejections, Sample};

/// Why a point or a document could not be exported. The names are part of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// A key on the point's path is no integer of milliseconds.
    InvalidKey,
    /// The point lies before its document's hour or after it.
    OutsideHour,
    /// The point's value is a document.
    DocumentValue,
    /// The point's value is of a type that has no text, such as an array or binary.
    UnsupportedType,
    /// The document's `_id` is no integer of milliseconds.
    InvalidId,
    /// The document has no `values` document.
    MissingValues,
    /// The document's bytes are not BSON, or are nested deeper than the source allows.
    Malformed,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::InvalidKey => "invalidKey",
            Self::OutsideHour => "outsideHour",
            Self::DocumentValue => "documentValue",
            Self::UnsupportedType => "unsupportedType",
            Self::InvalidId => "invalidId",
            Self::MissingValues => "missingValues",
            Self::Malformed => "malformed",
        }
    }
}

/// Counts of one vehicle.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) guarded: u64,
    pub(crate) rejected_points: BTreeMap<String, Rejections>,
    pub(crate) rejected_documents: BTreeMap<String, Rejections>,
}

impl Tally {
    /// A point (read and counted already) cannot be exported.
    pub(crate) fn reject_point(&mut self, reason: Reason, sample: impl FnOnce() -> Sample) {
        self.counts.rejected += 1;
        add(&mut self.rejected_points, reason, 1, sample);
    }

    /// Adds what another counted later in the order of the data.
    pub(crate) fn merge(&mut self, later: Self) {
        self.counts.add(&later.counts);
        self.guarded += later.guarded;
        merge_rejections(&mut self.rejected_points, later.rejected_points);
        merge_rejections(&mut self.rejected_documents, later.rejected_documents);
    }

    /// So many whole documents cannot be read, of which one at most is to be shown.
    pub(crate) fn reject_documents(&mut self, reason: Reason, count: u64, sample: impl FnOnce() -> Sample) {
        add(&mut self.rejected_documents, reason, count, sample);
    }
}

fn add(map: &mut BTreeMap<String, Rejections>, reason: Reason, count: u64, sample: impl FnOnce() -> Sample) {
    let rejections = match map.get_mut(reason.as_str()) {
        Some(rejections) => rejections,
        None => map.entry(reason.as_str().to_owned()).or_default(),
    };
    rejections.add(sample);
    rejections.count += count - 1;
}

fn merge_rejections(into: &mut BTreeMap<String, Rejections>, later: BTreeMap<String, Rejections>) {
    for (reason, rejections) in later {
        into.entry(reason).or_default().merge(rejections);
    }
}
