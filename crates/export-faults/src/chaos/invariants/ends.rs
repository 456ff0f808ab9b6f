//! The final states of the jobs, and the remaining messages.

use std::collections::{BTreeMap, BTreeSet};

use bson::Document;

use super::{Found, count, has_ended, id_of, is_set, state_of, uri_of};
use crate::chaos::{Evidence, Shape};

/// Errors that are retried while attempts are left.
const WORTH_ANOTHER: [&str; 6] = [
    "source_unavailable",
    "result_storage_unavailable",
    "worker_lost",
    "worker_lost_alone",
    "stalled",
    "internal",
];
/// The error of a request that names a nonexistent vehicle.
const UNKNOWN_VEHICLE: &str = "unknown_vehicle";

pub(super) fn judge(evidence: &Evidence, found: &mut Found) {
    accepted(evidence, found);
    keys(evidence, found);
    for job in &evidence.jobs {
        end(job, evidence, found);
    }
    dead_letters(evidence, found);
    for (queue, count) in evidence.left_in_queues.iter().filter(|(_, count)| *count > 0) {
        found.add(13, None, format!("{count} messages are left in {queue}"));
    }
}

/// Every job that was accepted with a 202 is stored and visible.
fn accepted(evidence: &Evidence, found: &mut Found) {
    let stored: BTreeSet<String> = evidence.jobs.iter().map(id_of).collect();
    let accepted: BTreeSet<&String> = evidence.accepted.iter().map(|job| &job.job_id).collect();
    for job_id in accepted {
        if !stored.contains(job_id) {
            found.add(1, job_id.clone(), "a client got a 202 for it, and it is not stored");
        }
    }
    for job_id in &evidence.unknown {
        found.add(1, job_id.clone(), "a client got a 202 for it, and later a 404");
    }
}

/// One idempotency key, one job.
fn keys(evidence: &Evidence, found: &mut Found) {
    let mut by_key: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for accepted in &evidence.accepted {
        if let Some(key) = &accepted.key {
            by_key.entry(key).or_default().insert(accepted.job_id.clone());
        }
    }
    for job in &evidence.jobs {
        if let Ok(key) = job.get_str("idempotencyKey") {
            by_key.entry(key).or_default().insert(id_of(job));
        }
    }
    for (key, jobs) in by_key.iter().filter(|(_, jobs)| jobs.len() > 1) {
        found.add(4, None, format!("one request, named {key}, became {} jobs: {jobs:?}", jobs.len()));
    }
}

fn end(job: &Document, evidence: &Evidence, found: &mut Found) {
    let (id, state) = (id_of(job), state_of(job));
    if (state == "FINISHED") != uri_of(job).is_some() {
        found.add(2, id.clone(), format!("{state} with exportUri {:?}", uri_of(job)));
    }
    if !has_ended(job) {
        found.add(10, id.clone(), format!("is {state} although nothing is broken any more"));
        let published = if is_set(job, "publishedAt") { "published" } else { "not published" };
        found.add(13, id.clone(), format!("is {state} and {published} at rest"));
    }
    if job.get_array("unannounced").is_ok_and(|left| !left.is_empty()) {
        found.add(13, id.clone(), format!("is {state}, and that was not announced"));
    }
    if evidence.cancelled.contains(&id) && state != "CANCELLED" && has_ended(job) {
        found.add(5, id.clone(), format!("its cancellation was accepted, and it is {state}"));
    }
    let (attempts, max_attempts) = (count(job, "attempts"), count(job, "maxAttempts"));
    if attempts > max_attempts {
        found.add(8, id.clone(), format!("{attempts} attempts of {max_attempts}"));
    }
    let can_be_made = Shape::of(job).is_none_or(Shape::can_be_made);
    if state == "FINISHED" && !can_be_made {
        found.add(11, id.clone(), "FINISHED although it cannot be made");
    }
    if state == "FAILED" {
        let code = job.get_document("error").and_then(|error| error.get_str("code")).unwrap_or_default();
        let is_used_up = attempts >= max_attempts && WORTH_ANOTHER.contains(&code);
        if !is_used_up && (can_be_made || code != UNKNOWN_VEHICLE) {
            let what = format!("given up with {code:?} after {attempts} attempts of {max_attempts}");
            found.add(8, id, what);
        }
    }
}

/// Exactly the messages that name no job are dead letters.
fn dead_letters(evidence: &Evidence, found: &mut Found) {
    let sent: BTreeSet<&Vec<u8>> = evidence.poison.iter().map(|poison| &poison.body).collect();
    let kept: BTreeSet<&Vec<u8>> = evidence.dead_letters.iter().collect();
    for body in kept.difference(&sent) {
        found.add(9, None, format!("a good message was put aside: {}", String::from_utf8_lossy(body)));
    }
    for poison in evidence.poison.iter().filter(|poison| !poison.may_be_lost) {
        if !kept.contains(&poison.body) {
            let body = String::from_utf8_lossy(&poison.body);
            found.add(9, None, format!("a message that names no job is not among the dead letters: {body}"));
        }
    }
}
