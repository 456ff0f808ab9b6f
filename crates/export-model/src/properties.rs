//! The invariants of the protocol of one job, by name.

use export_core::event::EventKind;
use export_core::job::JobState;
use stateright::Property;

use crate::action::Kind;
use crate::applied::Record;
use crate::protocol::{Departure, Protocol};
use crate::rest;
use crate::run_space::RunSpace;
use crate::seen::Wrong;
use crate::steps;
use crate::world::{Publisher, World};

/// 202 means that the job is stored.
pub const ACCEPTED_IS_STORED: &str = "an accepted job is stored";
/// A job has a result exactly while it is FINISHED, and then it has an expiry.
pub const FINISHED_HAS_RESULT: &str = "finished means: has a result";
/// A FAILED job has an error; a job that ended in another way has none.
pub const ERROR_FITS: &str = "an error exactly where one belongs";
/// The result is one complete object of the attempt that committed it.
pub const RESULT_IS_WHOLE: &str = "a result is complete, and of the attempt that committed it";
/// A job has one result, ever.
pub const ONE_RESULT: &str = "one result, ever";
/// An ended job does not change, except that a FINISHED one expires.
pub const ENDED_STAYS: &str = "an ended job stays as it is";
/// Epochs grow by one with each claim.
pub const EPOCHS_GROW: &str = "epochs grow with claims";
/// Only the attempt of the last claim commits.
pub const COMMIT_IS_CURRENT: &str = "a commit is that of the last claim";
/// A worker changes the job only while its claim is the last.
pub const ZOMBIES_CHANGE_NOTHING: &str = "only the last claim's worker changes the job";
/// No part of an object is written twice.
pub const WRITTEN_ONCE: &str = "no part is written twice";
/// A job that kills its workers takes no other export with it.
pub const RUNS_ALONE: &str = "a job that has lost two workers runs alone";
/// No more attempts are made than the job may have.
pub const ATTEMPTS_BOUNDED: &str = "no more attempts than allowed";
/// The job's count of attempts is right.
pub const ATTEMPTS_COUNTED: &str = "attempts are counted";
/// The job is postponed no longer than the patience, and knows the outage that its last attempt has
/// met.
pub const OUTAGES_END: &str = "an outage postpones the job, but not for ever";
/// Every attempt after the first has a fault or an outage as its cause, and so has every failure.
pub const FAULTS_ONLY: &str = "without faults one attempt is enough";
/// An active job has a message, or the dispatcher or the sweeper will act on it.
pub const NOT_FORGOTTEN: &str = "an active job is not forgotten";
/// The job of a lost worker fails only when its attempts are used up.
pub const NOT_GIVEN_UP_EARLY: &str = "a lost job has all its attempts";
/// A job whose cancel was accepted never ends in another way, and no other job is cancelled.
pub const CANCEL_HOLDS: &str = "an accepted cancel holds";
/// Each end is announced once, by the step that makes it, and nothing else is announced.
pub const ENDS_ARE_ANNOUNCED: &str = "exactly the ends are announced";
/// When no process has anything left to do, no message and no active job is left over.
pub const REST_IS_CLEAN: &str = "at rest nothing is left over";
/// Without further faults, the job ends.
pub const NEVER_STUCK: &str = "without further faults the job ends";

/// All invariants.
pub(crate) fn all() -> Vec<Property<RunSpace>> {
    vec![
        Property::always(ACCEPTED_IS_STORED, |_, world: &World| {
            !world.seen.is_accepted || world.job.is_some()
        }),
        Property::always(FINISHED_HAS_RESULT, |_, world: &World| {
            world.job.as_ref().is_none_or(|job| {
                let is_finished = job.state == JobState::Finished;
                is_finished == job.result.is_some() && (!is_finished || job.expires_at_ms.is_some())
            })
        }),
        Property::always(ERROR_FITS, |_, world: &World| {
            world.job.as_ref().is_none_or(|job| {
                job.state.is_active() || job.error.is_some() == (job.state == JobState::Failed)
            })
        }),
        Property::always(RESULT_IS_WHOLE, |_, world| result_is_whole(world)),
        Property::always(ONE_RESULT, |_, world: &World| !world.seen.has(Wrong::SecondResult)),
        Property::always(ENDED_STAYS, |_, world: &World| !world.seen.has(Wrong::EndedJobChanged)),
        Property::always(EPOCHS_GROW, |_, world: &World| !world.seen.has(Wrong::EpochAstray)),
        Property::always(COMMIT_IS_CURRENT, |_, world: &World| !world.seen.has(Wrong::StaleCommit)),
        Property::always(ZOMBIES_CHANGE_NOTHING, |_, world: &World| !world.seen.has(Wrong::ZombieChange)),
        Property::always(WRITTEN_ONCE, |_, world: &World| !world.seen.has(Wrong::WrittenTwice)),
        Property::always(RUNS_ALONE, |_, world: &World| !world.seen.has(Wrong::BesideOthers)),
        Property::always(ATTEMPTS_BOUNDED, |search: &RunSpace, world: &World| {
            u32::from(world.seen.attempts) <= search.protocol.bounds.max_attempts
        }),
        Property::always(ATTEMPTS_COUNTED, |_, world: &World| {
            world.job.as_ref().is_none_or(|job| job.attempts == u32::from(world.seen.attempts))
        }),
        Property::always(FAULTS_ONLY, |search: &RunSpace, world| {
            only_faults_cost_attempts(&search.protocol, world)
        }),
        Property::always(OUTAGES_END, |_, world| outages_end(world)),
        Property::always(NOT_GIVEN_UP_EARLY, |_, world: &World| !world.seen.has(Wrong::GivenUpEarly)),
        Property::always(NOT_FORGOTTEN, |search: &RunSpace, world| is_not_forgotten(&search.protocol, world)),
        Property::always(CANCEL_HOLDS, |_, world| cancel_holds(world)),
        Property::always(ENDS_ARE_ANNOUNCED, |_, world| ends_are_announced(world)),
        Property::always(REST_IS_CLEAN, |search: &RunSpace, world| rest_is_clean(&search.protocol, world)),
        Property::always(NEVER_STUCK, |search: &RunSpace, world| {
            rest::can_be_reached(&search.protocol, &search.ways_to_rest, world)
        }),
    ]
}

fn result_is_whole(world: &World) -> bool {
    let Some(key) = world.job.as_ref().and_then(|job| job.result) else { return true };
    world.seen.committed.is_some() && world.objects[usize::from(key)].parts == [world.seen.committed; 2]
}

fn only_faults_cost_attempts(protocol: &Protocol, world: &World) -> bool {
    let faults = protocol.bounds.faults - world.faults_left;
    let has_failed = world.job.as_ref().is_some_and(|job| job.state == JobState::Failed);
    let is_caused = faults > 0 || world.seen.is_patience_over;
    world.seen.claims <= 1 + faults + world.seen.postponed && (is_caused || !has_failed)
}

fn outages_end(world: &World) -> bool {
    let active = world.job.as_ref().filter(|job| job.state.is_active());
    !world.seen.has(Wrong::PostponedTooLong)
        && active.is_none_or(|job| job.outage_since_ms.is_some() == world.seen.is_in_outage)
}

fn cancel_holds(world: &World) -> bool {
    let state = world.job.as_ref().map(|job| job.state);
    if world.seen.is_cancel_accepted {
        matches!(state, Some(JobState::Started | JobState::Cancelled))
    } else {
        state != Some(JobState::Cancelled)
    }
}

/// The relay is not in the model: it only reads the announcements, and no rule reads what it does.
fn ends_are_announced(world: &World) -> bool {
    world.job.as_ref().is_none_or(is_announced)
}

/// An end is announced when the job enters it; an expired job was finished before.
pub(crate) fn is_announced(job: &Record<u8>) -> bool {
    let finished = (job.state == JobState::Expired).then_some(EventKind::Finished);
    let end = EventKind::ALL.into_iter().find(|kind| kind.state() == job.state);
    job.announced.events().eq(finished.into_iter().chain(end))
}

fn is_not_forgotten(protocol: &Protocol, world: &World) -> bool {
    let Some(job) = &world.job else { return true };
    let api_acts = match job.state {
        JobState::NotStarted => protocol.publishes(job),
        JobState::Started => job.lease_until_ms.is_some() && !protocol.departs(Departure::NoLeaseScan),
        _ => true,
    };
    let is_being_published =
        world.publishers.iter().any(|publisher| matches!(publisher, Publisher::Publish { .. }));
    api_acts || is_being_published || world.messages() > 0
}

fn rest_is_clean(protocol: &Protocol, world: &World) -> bool {
    let mut actions = Vec::new();
    steps::enabled(protocol, world, &mut actions);
    actions.iter().any(|action| action.kind() == Kind::Step) || world.is_at_rest()
}
