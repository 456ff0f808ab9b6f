//! What must be true, whatever happens.

use export_core::job::JobState::{self, Expired, Failed, Finished, NotStarted, Started};
use export_core::rules::Record;

use super::world::{World, name, position};

/// At most one job leads, it has a result or may get one, and it follows nobody.
pub const ONE_LEADS: &str = "one leads";
/// At most one job works for itself, but for those that gave way.
pub const ONE_WORKS: &str = "one works";
/// Who follows is never worked on.
pub const FOLLOWERS_DO_NOT_READ: &str = "followers do not read the source";
/// A job is finished exactly when it has a result.
pub const FINISHED_HAS_RESULT: &str = "finished has a result";
/// Who shares a result has that of its leader, for as long, and has got it in time.
pub const RESULT_IS_THE_LEADERS: &str = "the result is the leader's";
/// What has ended stays as it is.
pub const ENDED_STAYS: &str = "ended stays";
/// Every end is announced.
pub const ENDS_ARE_TOLD: &str = "ends are told";
/// A failed job says why.
pub const FAILURES_ARE_EXPLAINED: &str = "failures are explained";
/// Without further faults, every job ends.
pub const EVERYBODY_ENDS: &str = "everybody ends";

/// The first property that a step has broken.
pub(super) fn broken(before: &World, after: &World) -> Option<&'static str> {
    let all: [(&'static str, bool); 8] = [
        (ENDED_STAYS, ended_stays(before, after)),
        (
            FOLLOWERS_DO_NOT_READ,
            each(after, |_, job| job.follows.is_none() || (job.epoch, job.attempts) == (0, 0)),
        ),
        (ONE_LEADS, one_leads(after)),
        (FINISHED_HAS_RESULT, each(after, |_, job| (job.state == Finished) == job.result.is_some())),
        (RESULT_IS_THE_LEADERS, result_is_the_leaders(before, after)),
        (ENDS_ARE_TOLD, each(after, |_, job| job.state.is_active() || is_told(job))),
        (FAILURES_ARE_EXPLAINED, each(after, |_, job| job.state != Failed || job.error.is_some())),
        (ONE_WORKS, one_works(after)),
    ];
    all.into_iter().find(|(_, holds)| !holds).map(|(property, _)| property)
}

fn each(world: &World, holds: impl Fn(usize, &Record<u8>) -> bool) -> bool {
    world.jobs.iter().enumerate().all(|(index, job)| job.as_ref().is_none_or(|job| holds(index, job)))
}

fn one_leads(world: &World) -> bool {
    let leaders = || world.jobs.iter().flatten().filter(|job| job.leads);
    leaders().count() <= 1
        && leaders().all(|job| job.follows.is_none() && matches!(job.state, NotStarted | Started | Finished))
}

fn one_works(world: &World) -> bool {
    let works = |(index, job): &(usize, &Option<Record<u8>>)| {
        let works = job.as_ref().is_some_and(|job| job.state.is_active() && job.follows.is_none());
        works && !world.gave_way[*index]
    };
    world.jobs.iter().enumerate().filter(works).count() <= 1
}

fn result_is_the_leaders(before: &World, after: &World) -> bool {
    each(after, |index, job| {
        let (Some(result), was) = (job.result, &before.jobs[index]) else { return true };
        let maker = job.follows.unwrap_or(name(index));
        let is_over = after.over[position(maker)];
        let has_just_got_it = was.as_ref().is_some_and(|was| was.result.is_none());
        let expires_as_it_should = job.expires_at_ms.is_some_and(|at_ms| (at_ms < 0) == is_over);
        result == maker && expires_as_it_should && !(has_just_got_it && is_over)
    })
}

fn ended_stays(before: &World, after: &World) -> bool {
    before.jobs.iter().zip(&after.jobs).all(|(before, after)| {
        let (Some(before), Some(after)) = (before, after) else { return true };
        let expires = (before.state, after.state) == (Finished, Expired);
        let is_same = before.state == after.state && before.result == after.result;
        before.state.is_active() || (before.follows == after.follows && (is_same || expires))
    })
}

fn is_told(job: &Record<u8>) -> bool {
    let told: Vec<JobState> = job.announced.events().map(export_core::event::EventKind::state).collect();
    told.last() == Some(&job.state)
}
