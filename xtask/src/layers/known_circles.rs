//! Import circles that exist, to be removed one by one. This list may only shrink: an entry whose
//! circle is gone is a violation.

/// Crate and build target, and the circle's modules in alphabetical order.
pub(super) const KNOWN: &[(&str, &[&str])] = &[
    ("export-core/lib", &["job", "result", "sharing"]),
    ("export-engine/lib", &["blocks", "context"]),
    ("export-engine/lib", &["decode", "engine", "pipeline", "resample", "table"]),
    ("export-model/lib", &["properties", "search"]),
    ("export-model/lib", &["protocol", "world"]),
    ("export-model/lib", &["results::properties", "results::world"]),
    ("export-mongo/lib", &["error", "server_errors"]),
    ("export-worker/lib", &["export", "worker"]),
];
