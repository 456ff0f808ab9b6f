//! The history of each job.

use std::collections::BTreeSet;

use bson::Document;

use super::{Found, count, has_ended, id_of, is_cancel_requested, is_set, state_of, uri_of};
use crate::chaos::Evidence;

pub(super) fn judge(evidence: &Evidence, found: &mut Found) {
    for (id, versions) in &evidence.history {
        let uris: BTreeSet<&str> = versions.iter().flatten().filter_map(uri_of).collect();
        if uris.len() > 1 {
            found.add(4, id.clone(), format!("had {} URIs: {uris:?}", uris.len()));
        }
        let mut before: Option<&Document> = None;
        for version in versions {
            match (before, version) {
                (_, None) => found.add(1, id.clone(), "was deleted"),
                (None, Some(after)) => created(id, after, found),
                (Some(before), Some(after)) => changed(id, before, after, found),
            }
            before = version.as_ref();
        }
    }
    for job in &evidence.jobs {
        let last = evidence.history.get(&id_of(job)).and_then(|versions| versions.last());
        let is_whole = last.is_some_and(|last| {
            last.as_ref().is_some_and(|last| {
                ["state", "epoch", "attempts", "exportUri"]
                    .iter()
                    .all(|field| last.get(field) == job.get(field))
            })
        });
        if !is_whole {
            found.add(6, id_of(job), "its history does not lead to what is stored");
        }
    }
}

fn created(id: &str, job: &Document, found: &mut Found) {
    let is_new = state_of(job) == "NOT_STARTED" && count(job, "epoch") == 0 && count(job, "attempts") == 0;
    if !is_new {
        found.add(6, id.to_owned(), format!("began as {}", brief(job)));
    }
    at_any_time(id, job, found);
}

/// Checks one change against the rules of all changes.
fn changed(id: &str, before: &Document, after: &Document, found: &mut Found) {
    at_any_time(id, after, found);
    let mut add = |invariant: u8, what: &str| {
        found.add(invariant, id.to_owned(), format!("{what}: {} → {}", brief(before), brief(after)));
    };
    let edge = (state_of(before), state_of(after));
    if has_ended(before) {
        if edge != ("FINISHED", "EXPIRED") && !is_announced(before, after) {
            add(5, "changed after its end");
        }
        return;
    }
    let is_legal = matches!(
        edge,
        ("NOT_STARTED", "NOT_STARTED" | "STARTED" | "CANCELLED")
            | ("STARTED", "STARTED" | "NOT_STARTED" | "FINISHED" | "FAILED" | "CANCELLED")
    );
    if !is_legal {
        add(6, "no rule leads there");
    }
    let is_claim = edge == ("NOT_STARTED", "STARTED");
    let is_release = edge == ("STARTED", "NOT_STARTED");
    let epochs = count(after, "epoch") - count(before, "epoch");
    if epochs != i64::from(is_claim) {
        add(6, "an epoch that must not be");
    }
    let attempts = count(after, "attempts") - count(before, "attempts");
    let is_counted = if is_claim { attempts == 1 } else { attempts == 0 || (is_release && attempts == -1) };
    if !is_counted {
        add(8, "attempts that must not be");
    }
    if edge == ("STARTED", "STARTED") && before.get("owner") != after.get("owner") {
        add(6, "another owner in the same epoch");
    }
    if is_cancel_requested(before) {
        if !is_cancel_requested(after) {
            add(5, "its cancellation was forgotten");
        }
        if !matches!(edge.1, "STARTED" | "CANCELLED") {
            add(5, "ended otherwise although it was cancelled");
        }
    }
    if edge.1 == "CANCELLED" && !is_cancel_requested(after) {
        add(5, "cancelled without a request to cancel it");
    }
}

/// The relay removed announcements, and nothing else changed.
fn is_announced(before: &Document, after: &Document) -> bool {
    let but_announcements = |job: &Document| {
        let mut job = job.clone();
        job.remove("unannounced");
        job
    };
    but_announcements(before) == but_announcements(after)
}

/// Conditions that hold for every version.
fn at_any_time(id: &str, job: &Document, found: &mut Found) {
    let (attempts, max_attempts) = (count(job, "attempts"), count(job, "maxAttempts"));
    if attempts > max_attempts {
        found.add(8, id.to_owned(), format!("{attempts} attempts of {max_attempts}"));
    }
    if (state_of(job) == "FINISHED") != uri_of(job).is_some() {
        found.add(2, id.to_owned(), format!("{} with exportUri {:?}", brief(job), uri_of(job)));
    }
    let is_running = state_of(job) == "STARTED";
    if is_set(job, "owner") != is_running || is_set(job, "leaseUntil") != is_running {
        found.add(6, id.to_owned(), format!("an owner or a lease that must not be: {}", brief(job)));
    }
}

fn brief(job: &Document) -> String {
    let cancelled = if is_cancel_requested(job) { ", cancel requested" } else { "" };
    format!(
        "{} (epoch {}, attempts {}{cancelled})",
        state_of(job),
        count(job, "epoch"),
        count(job, "attempts")
    )
}
