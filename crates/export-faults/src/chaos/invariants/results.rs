//! The objects behind the URIs, and the writes to the bucket.

use std::collections::BTreeMap;

use bson::Document;

use super::{Found, count, id_of, uri_of};
use crate::chaos::{Evidence, FoundResult, Write};

/// The tenant of every caller in a deployment without tenants.
const TENANT: &str = "default";

pub(super) fn judge(evidence: &Evidence, found: &mut Found) {
    let mut by_uri: BTreeMap<&str, String> = BTreeMap::new();
    for job in &evidence.jobs {
        let Some(uri) = uri_of(job) else { continue };
        let id = id_of(job);
        if let Some(other) = by_uri.insert(uri, id.clone()) {
            found.add(4, id.clone(), format!("{uri} is the result of job {other}, too"));
        }
        place(&id, job, uri, evidence, found);
        match evidence.results.get(&id) {
            None => found.add(3, id, format!("nothing was read at {uri}")),
            Some(result) => content(&id, job, result, found),
        }
    }
    writes(evidence, found);
}

/// The result is stored under its tenant and its job.
fn place(id: &str, job: &Document, uri: &str, evidence: &Evidence, found: &mut Found) {
    let own = format!("s3://{}/{}{TENANT}/{id}/", evidence.bucket, evidence.key_prefix);
    if !uri.starts_with(&own) || job.get_str("tenant").ok() != Some(TENANT) {
        found.add(12, id.to_owned(), format!("{uri} is not below {own}"));
    }
}

fn content(id: &str, job: &Document, result: &FoundResult, found: &mut Found) {
    for missing in &result.missing {
        found.add(3, id.to_owned(), missing.clone());
    }
    for difference in &result.differences {
        found.add(11, id.to_owned(), format!("not the reference's: {difference}"));
    }
    if !result.missing.is_empty() {
        return;
    }
    let empty = Document::new();
    let stats = job.get_document("stats").unwrap_or(&empty);
    let stored = (count(stats, "bytes"), stats.get_str("sha256").unwrap_or_default());
    let is = (i64::try_from(result.bytes).unwrap_or(i64::MAX), result.sha256.as_str());
    if stored != is {
        found.add(3, id.to_owned(), format!("its stats say {stored:?}, its objects are {is:?}"));
    }
    let rows = count(stats, "rows");
    if i64::try_from(result.reference_rows) != Ok(rows) {
        found.add(3, id.to_owned(), format!("its stats say {rows} rows, it has {}", result.reference_rows));
    }
}

/// Every write is create-only, and at most one per key was executed. Two overlapping writes are a
/// request that was repeated while the first was still in progress. A real store would have refused
/// the second; the test kit's checks before it writes, not while it writes.
fn writes(evidence: &Evidence, found: &mut Found) {
    let mut done: BTreeMap<&str, &Write> = BTreeMap::new();
    for write in evidence.writes.iter().filter(|write| write.is_done()) {
        if !write.is_create_only {
            found.add(7, None, format!("{} was written in a way that may overwrite", write.key));
        }
        if let Some(first) = done.insert(&write.key, write)
            && first.span_us.1 <= write.span_us.0
        {
            found.add(7, None, format!("{} was written again", write.key));
        }
    }
}
