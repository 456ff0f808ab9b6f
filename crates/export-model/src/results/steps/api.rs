//! The API: requests, the dispatcher, cancels and sweepers; and the passing of lifetimes.

use crate::applied::{ApplyToJob, ApplyToResult, Record};
use export_core::job::JobState;
use export_core::result::{ResultState, is_void};
use export_core::rules::Transition;
use export_core::rules::result::ResultTransition;

use super::worker::remove;
use super::{change, input, result_input, shareable};
use crate::protocol::NOW_MS;
use crate::results::action::Action;
use crate::results::world::{Claimed, Found, MAX_ATTEMPTS, Request, Sharing, Step, Sweeper, World, small};
use crate::results::{Departure, Results};

/// Changes by which the sweeper takes jobs from lost workers.
const FROM_LOST_WORKERS: [Transition; 3] =
    [Transition::ReleaseLost, Transition::FailLost, Transition::CancelLost];

pub(super) fn enabled(results: &Results, world: &World, job: usize, actions: &mut Vec<Action>) {
    // Requests come one after the other: they have no effect on each other before they insert their
    // jobs.
    let is_next = job == 0 || world.requests[job - 1] == Request::Done;
    if world.requests[job] != Request::Done && is_next {
        actions.push(Action::Request(job));
        actions.push(Action::NoRequest(job));
    }
    if let Some(stored) = &world.jobs[job] {
        of_job(results, world, job, stored, actions);
    }
    let Some(result) = &world.results[job] else { return };
    let input = result_input(world, Claimed { job, epoch: 0 }, 0);
    if results.result_rules.get(ResultTransition::Expire).holds(Some(result), &input) {
        actions.push(Action::ExpireResult(job));
    }
    if world.ages_left > 0
        && result.state == ResultState::Finished
        && result.expires_at_ms.is_some_and(|at_ms| at_ms > NOW_MS)
    {
        actions.push(Action::Age(job));
    }
}

fn of_job(results: &Results, world: &World, job: usize, stored: &Record<u8>, actions: &mut Vec<Action>) {
    let may = |transition| results.rules.get(transition).holds(stored, &input(small(stored.epoch), None));
    if stored.state == JobState::NotStarted && stored.published_at_ms.is_none() {
        if !is_left_out(results, world, job) {
            actions.push(Action::Dispatch(job));
        } else if world.early_left > 0 {
            actions.push(Action::DispatchEarly(job));
        }
    }
    if stored.state == JobState::Started && stored.lease_until_ms.is_some_and(|until_ms| until_ms > NOW_MS) {
        if !world.is_held(job) {
            actions.push(Action::LeaseEnds(job));
        } else if world.faults_left > 0 {
            actions.push(Action::LeaseEndsEarly(job));
        }
    }
    let lost = FROM_LOST_WORKERS.into_iter().filter(|transition| may(*transition));
    actions.extend(lost.map(|transition| Action::SweepLost(transition, job)));
    if may(Transition::Expire) {
        actions.push(Action::ExpireJob(job));
    }
    if world.cancels_left > 0 && !stored.cancel_requested {
        let cancels = [Transition::CancelWaiting, Transition::RequestCancel].into_iter();
        actions.extend(cancels.filter(|cancel| may(*cancel)).map(|cancel| Action::Cancel(cancel, job)));
    }
}

pub(super) fn sweeping(results: &Results, world: &World, actions: &mut Vec<Action>) {
    if world.loads_left > 0 {
        actions.push(Action::SourceChanges);
    }
    if world.sweeper != Sweeper::Idle {
        actions.push(Action::RemoveVoid);
        return;
    }
    for (job, result) in world.results.iter().enumerate() {
        let writer = world.jobs[job].as_ref().map(|job| (job.state, job.epoch));
        let is_found = result
            .as_ref()
            .is_some_and(|result| result.state == ResultState::Writing && is_void(result.epoch, writer));
        if is_found && !results.departs(Departure::SweeperRemovesNothing) {
            actions.push(Action::FindVoid(job));
        }
    }
}

/// Whether the dispatcher leaves the job out: another job with the same key is published or runs,
/// and this one cannot share yet.
fn is_left_out(results: &Results, world: &World, job: usize) -> bool {
    let is_active = |other: &Record<u8>| match other.state {
        JobState::NotStarted => other.published_at_ms.is_some() || results.departs(Departure::DispatchNone),
        state => state.is_active(),
    };
    let has_other = world
        .jobs
        .iter()
        .enumerate()
        .any(|(other, stored)| other != job && stored.as_ref().is_some_and(is_active));
    let shares = if results.departs(Departure::DispatchOnAnyCurrent) {
        world.current().is_some()
    } else {
        shareable(results, world, job).is_some()
    };
    has_other && !shares && !results.departs(Departure::DispatchAll)
}

pub(super) fn take(results: &Results, world: &mut World, action: Action) -> bool {
    match action {
        Action::Request(job) => insert(results, world, job),
        Action::NoRequest(job) => world.requests[job] = Request::Done,
        Action::Dispatch(job) => mark_published(results, world, job),
        Action::DispatchEarly(job) => {
            world.early_left -= 1;
            mark_published(results, world, job);
        }
        Action::SweepLost(transition, job) => {
            change(results, world, transition, job, &input(0, None));
        }
        Action::FindVoid(job) => {
            let epoch = world.results[job].as_ref().map_or(0, |result| small(result.epoch));
            world.sweeper = Sweeper::Remove(Claimed { job, epoch });
        }
        Action::RemoveVoid => {
            if let Sweeper::Remove(found) = world.sweeper {
                remove(results, world, found);
            }
            world.sweeper = Sweeper::Idle;
        }
        Action::Cancel(transition, job) => {
            world.cancels_left -= 1;
            change(results, world, transition, job, &input(0, None));
        }
        Action::Age(job) => age(world, job),
        Action::SourceChanges => {
            world.loads_left -= 1;
            world.source += 1;
        }
        Action::ExpireResult(job) => {
            let input = result_input(world, Claimed { job, epoch: 0 }, 0);
            results.result_rules.get(ResultTransition::Expire).apply(&mut world.results[job], &input);
        }
        Action::ExpireJob(job) => {
            change(results, world, Transition::Expire, job, &input(0, None));
        }
        _ => return false,
    }
    true
}

fn mark_published(results: &Results, world: &mut World, job: usize) {
    let epoch = world.jobs[job].as_ref().map_or(0, |job| small(job.epoch));
    change(results, world, Transition::MarkPublished, job, &input(epoch, None));
}

fn insert(results: &Results, world: &mut World, job: usize) {
    world.requests[job] = Request::Done;
    world.created_at[job] = world.reading_time;
    world.fresh_since[job] = results.bounds.fresh[job].then_some(world.reading_time);
    world.source_at_creation[job] = world.source;
    world.reading_time += 1;
    world.jobs[job] = Some(Record::new(MAX_ATTEMPTS, NOW_MS));
}

/// The lifetime of a result passes wherever its end is stored or remembered.
fn age(world: &mut World, job: usize) {
    world.ages_left -= 1;
    let Some(result) = &mut world.results[job] else { return };
    let (uri, was) = (result.uri, result.expires_at_ms);
    let is = was.map(|at_ms| at_ms - 1);
    result.expires_at_ms = is;
    for job in world.jobs.iter_mut().flatten().filter(|job| job.result == uri) {
        job.expires_at_ms = is;
    }
    for worker in &mut world.workers {
        if let Step::Commit(found)
        | Step::Compare(found, _)
        | Step::MarkChecked(found, _)
        | Step::Withdraw(Sharing::Use(found) | Sharing::Compare(found, _)) = &mut worker.step
        {
            age_found(found, uri, is);
        }
    }
}

fn age_found(found: &mut Found, uri: Option<u8>, expires_at_ms: Option<i64>) {
    if Some(found.uri) == uri {
        found.expires_at_ms = expires_at_ms;
    }
}
