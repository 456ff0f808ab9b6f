//! What must be true in every run.

use crate::applied::{Record, ResultRecord};
use export_core::job::JobState;
use export_core::result::ResultState;

use super::Results;
use super::world::{World, begun_at, job_of};
use super::wrong::Wrong;
use crate::properties;

/// A FINISHED result has a complete object.
pub const COMPLETE: &str = "a finished result is complete";
/// A result has an owner exactly while WRITING, an address exactly while FINISHED, and its times
/// fit.
pub const WELL_FORMED: &str = "a result's fields fit its state";
/// A FINISHED result changes only to EXPIRED, or to not current.
pub const IMMUTABLE: &str = "a finished result does not change";
/// At most one result is current, and it is FINISHED.
pub const ONE_CURRENT: &str = "at most one result is current";
/// At most one running job writes a result.
pub const ONE_WRITER: &str = "two running jobs never write one result";
/// A worker replaces only the result that was current when it began to write.
pub const NEWER_REPLACES: &str = "only a newer result replaces the current one";
/// A job with a result has that of a FINISHED result document, and expires with it.
pub const RESULT_OF_JOB: &str = "a finished job has a finished result, for as long as it is kept";
/// A job never gets a result that has expired.
pub const NOT_EXPIRED: &str = "no job gets an expired result";
/// A job that asks for a fresh result gets one that was begun after the job was created.
pub const FRESH: &str = "a fresh job gets a fresh result";
/// A result has all that the source had when the job was created.
pub const NOT_STALE: &str = "no job gets a result from before a change of the source";
/// A result is current once it is finished, and no running job reads the source when there is one
/// that it can share.
pub const READ_ONCE: &str = "a result that can be shared is not read again";
/// A job that has ended stays as it is, except that a FINISHED one expires.
pub const ENDED_STAYS: &str = "an ended job stays as it is";
/// Exactly the ends are announced, in order.
pub const ANNOUNCED: &str = "ends are announced";
/// Waiting costs no attempt, and no job has more attempts than it may.
pub const ATTEMPTS: &str = "waiting costs no attempt";
/// A job with a cancel runs or is CANCELLED.
pub const CANCEL_HOLDS: &str = "a requested cancel holds";
/// A job is shown as waiting only while no worker has it.
pub const WAITING: &str = "only a job that is not started waits";
/// Only faults fail a job.
pub const FAULTS_FAIL: &str = "without faults no job fails";
/// Jobs are given back to wait only after a fault, an early dispatch, or because a result became
/// unusable.
pub const NO_CHURN: &str = "the dispatcher prevents waits";
/// Without further faults every job ends, and no WRITING result is left over.
pub const ALL_END: &str = "every job ends";

/// The property that a wrong step violates.
const fn violated_by(wrong: Wrong) -> &'static str {
    match wrong {
        Wrong::Incomplete => COMPLETE,
        Wrong::Changed => IMMUTABLE,
        Wrong::RetiredNewer => NEWER_REPLACES,
        Wrong::ExpiredResult => NOT_EXPIRED,
        Wrong::StaleForFresh => FRESH,
        Wrong::Stale => NOT_STALE,
        Wrong::ReadTwice | Wrong::NotCurrent => READ_ONCE,
        Wrong::EndedChanged => ENDED_STAYS,
    }
}

/// The first property that does not hold in this world.
pub(super) fn broken(results: &Results, world: &World) -> Option<&'static str> {
    if let Some(wrong) = world.wrong {
        return Some(violated_by(wrong));
    }
    let all: [(&'static str, bool); 10] = [
        (ONE_CURRENT, is_one_current(world)),
        (WELL_FORMED, world.results.iter().flatten().all(is_well_formed)),
        (ONE_WRITER, is_one_writer(world)),
        (RESULT_OF_JOB, each_job(world, |_, job| has_its_result(world, job))),
        (ANNOUNCED, each_job(world, |_, job| properties::is_announced(job))),
        (ATTEMPTS, each_job(world, |index, job| attempts_fit(job, world.waits[index]))),
        (CANCEL_HOLDS, each_job(world, |_, job| !job.cancel_requested || keeps_cancel(job.state))),
        (WAITING, each_job(world, |_, job| !job.is_waiting || job.state == JobState::NotStarted)),
        (FAULTS_FAIL, each_job(world, |_, job| job.state != JobState::Failed || faults(results, world) > 0)),
        (NO_CHURN, waits(world) <= causes_of_waits(results, world)),
    ];
    all.into_iter().find(|(_, holds)| !holds).map(|(property, _)| property)
}

/// Compares the world before and after a step, and notes what must not happen.
pub(super) fn compare(before: &World, after: &mut World) {
    for (index, was) in before.results.iter().enumerate() {
        let was_finished = was.as_ref().is_some_and(|was| was.state == ResultState::Finished);
        let is = after.results[index].as_ref().filter(|is| is.state == ResultState::Finished);
        if !was_finished && is.is_some_and(|is| !is.is_current) {
            after.note(Wrong::NotCurrent);
        }
        let Some(was) = was.as_ref().filter(|was| was.state == ResultState::Finished) else { continue };
        let is = after.results[index].as_ref();
        if !is.is_some_and(|is| only_ends(was, is)) {
            after.note(Wrong::Changed);
        }
    }
    for index in 0..before.jobs.len() {
        let (Some(was), Some(is)) = (&before.jobs[index], &after.jobs[index]) else { continue };
        if !was.state.is_active() && !stays(was, is) {
            after.note(Wrong::EndedChanged);
        } else if let (None, Some(uri)) = (was.result, is.result) {
            let (expires_at_ms, since) = (is.expires_at_ms, after.fresh_since[index]);
            if expires_at_ms.is_some_and(|at_ms| at_ms <= 0) {
                after.note(Wrong::ExpiredResult);
            }
            if after.read_under[job_of(uri)] < after.source_at_creation[index] {
                after.note(Wrong::Stale);
            }
            if since.is_some_and(|since| begun_at(uri) <= since) {
                after.note(Wrong::StaleForFresh);
            }
        }
    }
}

fn is_well_formed(result: &ResultRecord<u8>) -> bool {
    let (is_writing, uri) = (result.state == ResultState::Writing, result.uri);
    result.owner.is_some() == is_writing
        && uri.is_some() == (result.state == ResultState::Finished)
        && result.expires_at_ms.is_none() == is_writing
        && uri.is_none_or(|uri| i64::from(begun_at(uri)) == result.begun_at_ms)
}

fn keeps_cancel(state: JobState) -> bool {
    matches!(state, JobState::Started | JobState::Cancelled)
}

fn only_ends(was: &ResultRecord<u8>, is: &ResultRecord<u8>) -> bool {
    let is_same = was.uri == is.uri && was.epoch == is.epoch && was.begun_at_ms == is.begun_at_ms;
    match is.state {
        ResultState::Finished => is_same && (was.is_current || !is.is_current),
        ResultState::Expired => was.expires_at_ms.is_some_and(|at_ms| at_ms <= 0),
        ResultState::Writing => false,
    }
}

fn stays(was: &Record<u8>, is: &Record<u8>) -> bool {
    let is_same = was.state == is.state && was.result == is.result;
    is_same || (was.state, is.state) == (JobState::Finished, JobState::Expired)
}

fn each_job(world: &World, holds: impl Fn(usize, &Record<u8>) -> bool) -> bool {
    world.jobs.iter().enumerate().all(|(index, job)| job.as_ref().is_none_or(|job| holds(index, job)))
}

fn is_one_current(world: &World) -> bool {
    let current = || world.results.iter().flatten().filter(|result| result.is_current);
    current().count() <= 1 && current().all(|result| result.state == ResultState::Finished)
}

fn is_one_writer(world: &World) -> bool {
    let writers = world.workers.iter().filter(|worker| worker.is_writing() && world.is_live(worker.claim));
    writers.count() <= 1
}

fn has_its_result(world: &World, job: &Record<u8>) -> bool {
    let Some(uri) = job.result else { return job.state != JobState::Finished };
    let fits = match &world.results[job_of(uri)] {
        Some(result) if result.uri == Some(uri) => {
            result.state == ResultState::Finished && result.expires_at_ms == job.expires_at_ms
        }
        // The result has expired, and the job is about to.
        _ => job.expires_at_ms.is_some_and(|at_ms| at_ms <= 0),
    };
    job.state == JobState::Finished && fits
}

fn attempts_fit(job: &Record<u8>, waits: u8) -> bool {
    i64::from(job.attempts) + i64::from(waits) == job.epoch && job.attempts <= job.max_attempts
}

fn faults(results: &Results, world: &World) -> u8 {
    results.bounds.faults - world.faults_left
}

fn waits(world: &World) -> u8 {
    world.waits.iter().sum()
}

fn causes_of_waits(results: &Results, world: &World) -> u8 {
    let bounds = &results.bounds;
    // Each replaces the current result, and for a moment there is none.
    let fresh_jobs = u8::try_from(world.fresh_since.iter().flatten().count()).unwrap_or(u8::MAX);
    let loads = bounds.loads - world.loads_left;
    let chosen = (bounds.early - world.early_left) + (bounds.ages - world.ages_left) + loads;
    faults(results, world) + chosen + fresh_jobs
}
