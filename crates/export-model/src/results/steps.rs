//! What can happen in a world, and what it leads to.

mod api;
mod worker;

use crate::applied::{ApplyToJob, ApplyToResult, Input, ResultInput};
use export_core::rules::Transition;
use export_core::rules::result::ResultTransition;

use super::action::{Action, Kind};
use super::properties;
use super::world::{Claimed, Found, JOBS, LEAST_LIFETIME_MS, RETENTION_MS, Sharing, World, small};
use super::{Departure, Results};
use crate::protocol::{LATER_MS, NOW_MS};

/// The name of every worker: the epoch alone tells claims apart.
const OWNER: u8 = 1;

/// Everything that can happen.
pub fn enabled(results: &Results, world: &World) -> Vec<Action> {
    let mut actions = Vec::new();
    worker::enabled(world, &mut actions);
    for job in 0..JOBS {
        api::enabled(results, world, job, &mut actions);
    }
    api::sweeping(results, world, &mut actions);
    actions
}

/// The world after this action.
pub fn after(results: &Results, world: &World, action: Action) -> World {
    let mut next = world.clone();
    if action.kind() == Kind::Fault {
        next.faults_left -= 1;
    }
    let is_taken = worker::take(results, &mut next, action) || api::take(results, &mut next, action);
    assert!(is_taken, "no process takes {action:?}");
    next.workers.sort_unstable();
    properties::compare(world, &mut next);
    next
}

/// Changes a job, if the rule allows it; returns whether it did.
fn change(
    results: &Results,
    world: &mut World,
    transition: Transition,
    job: usize,
    input: &Input<u8>,
) -> bool {
    let Some(job) = &mut world.jobs[job] else { return false };
    results.rules.get(transition).apply(job, input)
}

/// What the caller of a job's transition provides. Waits and back-offs take no time here.
fn input(epoch: u8, found: Option<Found>) -> Input<u8> {
    Input {
        now_ms: NOW_MS,
        epoch: i64::from(epoch),
        owner: OWNER,
        is_alone: true,
        result: found.map_or(0, |found| found.uri),
        expires_at_ms: found.and_then(|found| found.expires_at_ms),
        error: 0,
        lease_ms: LATER_MS,
        back_off_ms: 0,
        patience_ms: 1,
        wait_ms: 0,
    }
}

/// What the caller of a result's transition provides.
fn result_input(world: &World, claim: Claimed, uri: u8) -> ResultInput<u8> {
    ResultInput {
        now_ms: NOW_MS,
        epoch: i64::from(claim.epoch),
        owner: OWNER,
        uri,
        retention_ms: RETENTION_MS,
        least_lifetime_ms: LEAST_LIFETIME_MS,
        fresh_since_ms: world.fresh_since[claim.job].map(i64::from),
        created_at_ms: i64::from(world.created_at[claim.job]),
        looked_at_ms: 0,
        has_share_key: true,
    }
}

/// How this job can share the current result, if it can; notes whether it must not. The worker
/// leaves out the result at the address `outdated`.
fn sharing(results: &Results, world: &mut World, job: usize, outdated: Option<u8>) -> Option<Sharing> {
    let (found, claim) = matching(results, world, job, ResultTransition::Compare)?;
    if outdated == Some(found.uri) {
        return None;
    }
    let is_checked = shareable(results, world, job).is_some() || results.departs(Departure::NoComparison);
    Some(if is_checked { Sharing::Use(found) } else { Sharing::Compare(found, claim) })
}

/// The current result, if this job can share it without a comparison.
fn shareable(results: &Results, world: &World, job: usize) -> Option<Found> {
    matching(results, world, job, ResultTransition::Share).map(|(found, _)| found)
}

/// The current result and its claim, if it fits the conditions of this rule.
fn matching(
    results: &Results,
    world: &World,
    job: usize,
    rule: ResultTransition,
) -> Option<(Found, Claimed)> {
    let at = world.current()?;
    let current = world.results[at].as_ref()?;
    let input = result_input(world, Claimed { job, epoch: 0 }, 0);
    let fits = results.result_rules.get(rule).holds(Some(current), &input);
    let found =
        Found { uri: current.uri?, expires_at_ms: current.expires_at_ms, source: world.read_under[at] };
    fits.then_some((found, Claimed { job: at, epoch: small(current.epoch) }))
}
