//! The protocol's thirteen invariants, judged on evidence alone.
//!
//! | | invariant | judged in |
//! |---|---|---|
//! | 1 | 202 means that the job is durable | `ends` |
//! | 2 | FINISHED exactly with `exportUri` | `ends`, `history` |
//! | 3 | a URI names one complete object, its checksum and rows match | `results` |
//! | 4 | one URI per job, ever | `history`, `results` |
//! | 5 | an ended state never changes (but for announcements that are taken out); a promised cancellation is kept | `ends`, `history` |
//! | 6 | epochs only grow, and changes follow the rules | `history` |
//! | 7 | no key is written twice | `results` |
//! | 8 | never more attempts than allowed, and not given up before | `ends`, `history` |
//! | 9 | a message is only given up when its job needs none | `ends` |
//! | 10 | every job comes to an end | `ends` |
//! | 11 | the content is the reference exporter's | `results` |
//! | 12 | a result lies with its own tenant and job | `results` |
//! | 13 | at rest no job runs, none is unpublished or unannounced, no message is left | `ends` |

mod ends;
mod history;
mod results;

use std::fmt;

use bson::Document;

use super::evidence::Evidence;

/// Final states, except for FINISHED → EXPIRED.
const ENDED: [&str; 4] = ["FINISHED", "FAILED", "CANCELLED", "EXPIRED"];

/// A violated invariant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Number of the invariant, from 1 to 13.
    pub invariant: u8,
    /// The affected job.
    pub job_id: Option<String>,
    /// A description of the violation.
    pub what: String,
}

/// All violations in the evidence, by invariant.
pub fn violations(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Found::default();
    ends::judge(evidence, &mut found);
    history::judge(evidence, &mut found);
    results::judge(evidence, &mut found);
    found.0.sort();
    found.0.dedup();
    found.0
}

impl Violation {
    /// The meaning of a violation for the client of the export.
    pub fn consequence(&self) -> &'static str {
        match self.invariant {
            1 | 9 => "lost",
            4 | 7 => "doubled",
            3 | 11 => "partial",
            10 | 13 => "stuck",
            _ => "other",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}", self.invariant)?;
        if let Some(job_id) = &self.job_id {
            write!(f, ", job {job_id}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Collects violations.
#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, invariant: u8, job_id: impl Into<Option<String>>, what: impl Into<String>) {
        self.0.push(Violation { invariant, job_id: job_id.into(), what: what.into() });
    }
}

fn id_of(job: &Document) -> String {
    job.get_str("_id").unwrap_or_default().to_owned()
}

fn state_of(job: &Document) -> &str {
    job.get_str("state").unwrap_or_default()
}

fn has_ended(job: &Document) -> bool {
    ENDED.contains(&state_of(job))
}

/// The URI, if there is one.
fn uri_of(job: &Document) -> Option<&str> {
    job.get_str("exportUri").ok()
}

/// A count; -1, which is never valid, if it is missing.
fn count(document: &Document, field: &str) -> i64 {
    document.get_i64(field).unwrap_or(-1)
}

fn is_set(job: &Document, field: &str) -> bool {
    job.get(field).is_some_and(|value| value.as_null().is_none())
}

fn is_cancel_requested(job: &Document) -> bool {
    job.get_bool("cancelRequested").unwrap_or(false)
}
