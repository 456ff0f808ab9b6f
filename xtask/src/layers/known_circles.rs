//! Import circles that exist, to be removed one by one. This list may only shrink: an entry whose
//! circle is gone is a violation.

/// Crate and build target, and the circle's modules in alphabetical order.
pub(super) const KNOWN: &[(&str, &[&str])] = &[];
