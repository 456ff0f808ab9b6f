//! Points, buckets and documents that cannot be exported: the reason, the count, and a few samples of each.

use std::collections::BTreeMap;

use export_core::manifest::{Rejections, Sample};

/// Why a point, a bucket or a document cannot be exported. The names are part of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Point: a key on its path is not an integer of milliseconds.
    InvalidKey,
    /// Point: its value is a document that is not a bucket.
    DocumentValue,
    /// Point: a field `values` beside others that hold the points, which is neither a document nor
    /// an array.
    NotABucket,
    /// Point: its value is of a type without a text, such as an array or binary.
    UnsupportedType,
    /// Point: the bytes of its value do not fit its type, such as a text that is not UTF-8.
    InvalidValue,
    /// Point: its text is longer than a cell may be.
    TextTooLong,
    /// Point: it lies before or after its document's hour.
    OutsideHour,
    /// Bucket: nested deeper than MongoDB allows.
    TooDeep,
    /// Bucket: its rest is not BSON. Document: its bytes are not BSON.
    Malformed,
    /// Document: it has more than one `_id`.
    RepeatedId,
    /// Document: its `_id` is not an integer of milliseconds.
    InvalidId,
    /// Document: it has no field `values` that holds points.
    MissingValues,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::InvalidKey => "invalidKey",
            Self::DocumentValue => "documentValue",
            Self::NotABucket => "notABucket",
            Self::UnsupportedType => "unsupportedType",
            Self::InvalidValue => "invalidValue",
            Self::TextTooLong => "textTooLong",
            Self::OutsideHour => "outsideHour",
            Self::TooDeep => "tooDeep",
            Self::Malformed => "malformed",
            Self::RepeatedId => "repeatedId",
            Self::InvalidId => "invalidId",
            Self::MissingValues => "missingValues",
        }
    }
}

/// What is known of the points in rejected buckets or documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inside {
    /// Points found in them.
    pub(crate) points: u64,
    /// How many of them may hold more.
    pub(crate) uncounted: u64,
}

impl Inside {
    /// Adds what is in others.
    pub(crate) fn add(&mut self, other: Self) {
        self.points += other.points;
        self.uncounted += other.uncounted;
    }
}

/// Rejections by the name of the reason.
#[derive(Debug, Default)]
pub(crate) struct Rejected(pub(crate) BTreeMap<&'static str, Rejections>);

impl Rejected {
    /// Adds a rejection, with a sample if it is one of the first.
    pub(crate) fn add(&mut self, reason: Reason, sample: impl FnOnce() -> Sample) -> &mut Rejections {
        let rejections = self.0.entry(reason.as_str()).or_default();
        rejections.add(sample);
        rejections
    }

    /// Adds `count` buckets or documents with at most one sample. `inside` is what was found in all
    /// of them.
    pub(crate) fn add_containers(
        &mut self,
        reason: Reason,
        count: u64,
        inside: Inside,
        sample: impl FnOnce() -> Sample,
    ) {
        let rejections = self.add(reason, sample);
        rejections.count += count - 1;
        rejections.points = Some(rejections.points.unwrap_or(0) + inside.points);
        rejections.uncounted += inside.uncounted;
    }

    /// Adds rejections that come later in the order of the data.
    pub(crate) fn merge(&mut self, later: Self) {
        for (reason, rejections) in later.0 {
            self.0.entry(reason).or_default().merge(rejections);
        }
    }

    /// The rejections as the manifest has them.
    pub(crate) fn by_name(self) -> BTreeMap<String, Rejections> {
        self.0.into_iter().map(|(reason, rejections)| (reason.to_owned(), rejections)).collect()
    }
}
