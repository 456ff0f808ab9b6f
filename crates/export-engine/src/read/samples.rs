//! Points and documents that cannot be exported: the reason, the count, and a few samples of each.

use std::collections::BTreeMap;

use export_core::manifest::{Rejections, Sample};

/// Why a point or a document cannot be exported. The names are part of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// A key on the point's path is not an integer of milliseconds.
    InvalidKey,
    /// The point lies before or after its document's hour.
    OutsideHour,
    /// The point's value is a document.
    DocumentValue,
    /// The point's value is of a type without a text, such as an array or binary.
    UnsupportedType,
    /// The document's `_id` is not an integer of milliseconds.
    InvalidId,
    /// The document has no `values` document.
    MissingValues,
    /// The document's bytes are not BSON, or are nested deeper than MongoDB allows.
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

/// Rejections by reason, as the manifest has them.
#[derive(Debug, Default)]
pub(crate) struct Rejected(pub(crate) BTreeMap<String, Rejections>);

impl Rejected {
    /// Adds `count` rejections with at most one sample, which is made only if it is kept.
    pub(crate) fn add(&mut self, reason: Reason, count: u64, sample: impl FnOnce() -> Sample) {
        let rejections = match self.0.get_mut(reason.as_str()) {
            Some(rejections) => rejections,
            None => self.0.entry(reason.as_str().to_owned()).or_default(),
        };
        rejections.add(sample);
        rejections.count += count - 1;
    }

    /// Adds rejections that come later in the order of the data.
    pub(crate) fn merge(&mut self, later: Self) {
        for (reason, rejections) in later.0 {
            self.0.entry(reason).or_default().merge(rejections);
        }
    }
}
