//! Fields of a stored job document.

use bson::Document;

/// The job's `state`; empty when the document has none.
pub fn state_of(job: &Document) -> &str {
    job.get_str("state").unwrap_or_default()
}

/// The job's `epoch`: how many times workers have claimed it. Panics when the field is missing.
pub fn epoch_of(job: &Document) -> i64 {
    job.get_i64("epoch").unwrap_or_else(|error| panic!("no epoch ({error}): {job:#}"))
}

/// The job's `attempts`: how many claims counted as attempts. Panics when the field is missing.
pub fn attempts_of(job: &Document) -> i64 {
    job.get_i64("attempts").unwrap_or_else(|error| panic!("no attempts ({error}): {job:#}"))
}

/// The code of the job's `error`; empty when it has none.
pub fn error_of(job: &Document) -> &str {
    job.get_document("error").and_then(|error| error.get_str("code")).unwrap_or_default()
}

/// The S3 key in a finished job's `exportUri`. Panics when the field is missing.
pub fn key_of(job: &Document) -> String {
    let uri = job.get_str("exportUri").unwrap_or_else(|_| panic!("no URI: {job:#}"));
    let key = uri.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    key.unwrap_or_else(|| panic!("no S3 URI: {uri}")).1.to_owned()
}
