//! Workers: delivery → claim → parts → commit → ack, and every way off that path.

use crate::applied::{ApplyToJob, Input, Record};
use export_core::job::JobState;
use export_core::rules::{LOST_WORKERS_BEFORE_ALONE, Rule, Transition};

use crate::action::Action;
use crate::protocol::{Departure, EARLIER_MS, NOW_MS, Protocol, input};
use crate::seen::Wrong;
use crate::world::{Ending, Step, Worker, World};

pub(super) fn enabled(world: &World, actions: &mut Vec<Action>) {
    for (index, worker) in world.workers.iter().enumerate() {
        match worker.step {
            Step::Idle if world.ready > 0 => actions.push(Action::Deliver(index)),
            Step::Idle => {}
            Step::Claim => actions.push(Action::Claim(index)),
            Step::Look => actions.push(Action::Look(index)),
            Step::Write(_) => actions.push(Action::Write(index)),
            Step::End(_) | Step::EndUnchecked => actions.push(Action::End(index)),
            Step::ReadBack(_) => actions.push(Action::ReadBack(index)),
            Step::Settle if worker.has_delivery => {
                actions.extend([Action::Ack(index), Action::Nack(index)]);
            }
            Step::Settle => actions.push(Action::Ack(index)),
            Step::Nack => actions.push(Action::Nack(index)),
        }
        heartbeat(world, index, actions);
        if world.outages_left > 0 && matches!(worker.step, Step::Write(_)) {
            actions.push(Action::OutageStops(index));
        }
        if world.faults_left > 0 {
            faults(index, *worker, actions);
        }
    }
}

/// Only heartbeats that change the worker's next step.
fn heartbeat(world: &World, index: usize, actions: &mut Vec<Action>) {
    let (worker, Some(job)) = (&world.workers[index], &world.job) else { return };
    if !worker.is_exporting() {
        return;
    }
    let is_own = job.state == JobState::Started && job.epoch == i64::from(worker.epoch);
    let has_expired = job.lease_until_ms.is_some_and(|until_ms| until_ms < NOW_MS);
    if !is_own || has_expired || job.cancel_requested {
        actions.push(Action::Heartbeat(index));
    }
    if is_own && has_expired {
        actions.push(Action::OwnClock(index));
    }
}

fn faults(index: usize, worker: Worker, actions: &mut Vec<Action>) {
    if worker.step == Step::Idle {
        return;
    }
    actions.push(Action::Crash(index));
    if worker.has_delivery {
        actions.push(Action::Disconnect(index));
    }
    if worker.is_at_work() {
        actions.push(Action::LeaveUnstored(index));
    }
    match worker.step {
        Step::Claim => actions.extend([Action::ClaimUnanswered(index), Action::ClaimLost(index)]),
        Step::Write(_) => actions.extend([
            Action::HandOver(index),
            Action::ExportFails(index),
            Action::ExportFailsForGood(index),
            Action::WriteUnanswered(index),
            Action::WriteLost(index),
        ]),
        Step::End(_) => actions.push(Action::EndUnanswered(index)),
        _ => {}
    }
}

pub(super) fn take(protocol: &Protocol, world: &mut World, action: Action) -> bool {
    match action {
        Action::Deliver(index) => {
            world.ready -= 1;
            world.workers[index] = Worker { step: Step::Claim, has_delivery: true, ..Worker::IDLE };
        }
        Action::Claim(index) => claim(protocol, world, index),
        Action::ClaimUnanswered(index) => {
            claim(protocol, world, index);
            go(world, index, Step::Nack);
        }
        Action::ClaimLost(index) => go(world, index, Step::Nack),
        Action::Look(index) => look(protocol, world, index),
        Action::Write(index) => {
            write(protocol, world, index);
            written(world, index);
        }
        Action::WriteUnanswered(index) => write(protocol, world, index),
        Action::WriteLost(index) => {
            if protocol.departs(Departure::SilenceIsSuccess) {
                written(world, index);
            }
        }
        Action::Heartbeat(index) => beat(protocol, world, index),
        Action::OwnClock(index) | Action::LeaveUnstored(index) => go(world, index, Step::Settle),
        Action::ExportFails(index) => {
            let ending = if world.workers[index].is_last { Ending::Fail } else { Ending::Release };
            go(world, index, Step::End(ending));
        }
        Action::OutageStops(index) => {
            world.outages_left -= 1;
            go(world, index, Step::End(Ending::Postpone));
        }
        Action::ExportFailsForGood(index) => go(world, index, Step::End(Ending::Fail)),
        Action::End(index) => {
            let ended = end(protocol, world, index);
            go(world, index, ended);
        }
        Action::EndUnanswered(index) => {
            let Step::End(ending) = world.workers[index].step else { return false };
            end(protocol, world, index);
            go(world, index, Step::ReadBack(ending));
        }
        Action::ReadBack(index) => read_back(protocol, world, index),
        Action::HandOver(index) => {
            if change(protocol, world, index, Transition::HandOver) {
                world.seen.attempts -= 1;
            }
            leave(world, index);
        }
        Action::Crash(index) => leave(world, index),
        _ => return false,
    }
    true
}

fn go(world: &mut World, index: usize, step: Step) {
    world.workers[index].step = step;
}

/// A new process replaces the worker. The connection was closed, so the broker delivers the message
/// again.
fn leave(world: &mut World, index: usize) {
    world.ready += u8::from(world.workers[index].has_delivery);
    world.workers[index] = Worker::IDLE;
}

fn key(protocol: &Protocol, worker: Worker) -> u8 {
    if protocol.departs(Departure::SharedKey) { 0 } else { worker.epoch }
}

fn change(protocol: &Protocol, world: &mut World, index: usize, transition: Transition) -> bool {
    change_as(protocol, world, index, transition, false)
}

fn change_as(
    protocol: &Protocol,
    world: &mut World,
    index: usize,
    transition: Transition,
    is_alone: bool,
) -> bool {
    let worker = world.workers[index];
    let input = Input { is_alone, ..input(worker.epoch, protocol.owner(index), key(protocol, worker)) };
    let is_changed = world.job.as_mut().is_some_and(|job| protocol.apply(transition, job, &input));
    if is_changed && transition != Transition::Claim && worker.attempt != world.seen.claims {
        world.seen.note(Wrong::ZombieChange);
    }
    is_changed
}

/// Workers read the job before they wait for a free slot, and claim it afterwards. The read is not
/// a step of its own here, because it shows only what a claim would have found at that moment.
///
/// There is only one job here, so a worker that the job needs alone has nothing else to end first.
fn claim(protocol: &Protocol, world: &mut World, index: usize) {
    let waits_unpublished =
        |job: &Record<u8>| job.state == JobState::NotStarted && job.published_at_ms.is_none();
    if protocol.departs(Departure::AckUnpublished) && world.job.as_ref().is_some_and(waits_unpublished) {
        return go(world, index, Step::Settle);
    }
    let is_beside_others = change_as(protocol, world, index, Transition::Claim, false);
    if !is_beside_others && !change_as(protocol, world, index, Transition::Claim, true) {
        return go(world, index, Step::Look);
    }
    if is_beside_others && u32::from(world.seen.lost_workers) >= LOST_WORKERS_BEFORE_ALONE {
        world.seen.note(Wrong::BesideOthers);
    }
    world.seen.claims += 1;
    world.seen.attempts += 1;
    let worker = &mut world.workers[index];
    worker.step = Step::Write(0);
    worker.attempt = world.seen.claims;
    if protocol.departs(Departure::AckAtClaim) {
        worker.has_delivery = false;
    }
    if let Some(job) = &world.job {
        worker.epoch = u8::try_from(job.epoch).unwrap_or(u8::MAX);
        worker.is_last = job.attempts >= job.max_attempts;
    }
}

/// The message of a job that is not due and does not count as published is not needed: the
/// dispatcher publishes another one.
fn look(protocol: &Protocol, world: &mut World, index: usize) {
    let waiting = world.job.as_ref().filter(|job| job.state == JobState::NotStarted);
    let is_nacked = waiting.is_some_and(|job| {
        let needs_it = job.run_after_ms <= NOW_MS || job.published_at_ms.is_some();
        (needs_it || protocol.departs(Departure::NackNotDue)) && !protocol.departs(Departure::AckNotDue)
    });
    go(world, index, if is_nacked { Step::Nack } else { Step::Settle });
}

/// Creates the part. An existing part is taken for the worker's own after a lost answer, because
/// each attempt has its own key.
fn write(protocol: &Protocol, world: &mut World, index: usize) {
    let worker = world.workers[index];
    let Step::Write(part) = worker.step else { return };
    let stored = &mut world.objects[usize::from(key(protocol, worker))].parts[usize::from(part)];
    if stored.is_none() {
        *stored = Some(worker.attempt);
    } else if protocol.departs(Departure::Overwrite) {
        *stored = Some(worker.attempt);
        world.seen.note(Wrong::WrittenTwice);
    }
}

fn written(world: &mut World, index: usize) {
    let is_complete = world.workers[index].step == Step::Write(1);
    go(world, index, if is_complete { Step::End(Ending::Commit) } else { Step::Write(1) });
}

fn beat(protocol: &Protocol, world: &mut World, index: usize) {
    if !change(protocol, world, index, Transition::Heartbeat) {
        go(world, index, Step::Settle);
    } else if world.job.as_ref().is_some_and(|job| job.cancel_requested) {
        go(world, index, Step::End(Ending::Cancel));
    }
}

/// Stores how the attempt ended; returns the worker's next step.
fn end(protocol: &Protocol, world: &mut World, index: usize) -> Step {
    let worker = world.workers[index];
    let (ending, transition) = match worker.step {
        Step::End(Ending::Commit) => (Ending::Commit, Transition::Commit),
        Step::End(Ending::Release) => (Ending::Release, Transition::Release),
        Step::End(Ending::Postpone) => return postpone(protocol, world, index),
        Step::End(Ending::Fail) => (Ending::Fail, Transition::Fail),
        Step::End(Ending::Cancel) => (Ending::Cancel, Transition::CancelRunning),
        _ => return end_unchecked(protocol, world, index),
    };
    let was_started = world.job.as_ref().is_some_and(|job| job.state == JobState::Started);
    if ending == Ending::Commit && protocol.departs(Departure::CheckThenCommit) {
        let input = input(worker.epoch, protocol.owner(index), key(protocol, worker));
        let holds = world.job.as_ref().is_some_and(|job| protocol.rules.get(transition).holds(job, &input));
        return if holds { Step::EndUnchecked } else { Step::ReadBack(ending) };
    }
    if !change(protocol, world, index, transition) {
        return Step::ReadBack(ending);
    }
    world.seen.is_in_outage &= !matches!(ending, Ending::Commit | Ending::Release);
    if ending == Ending::Commit {
        let is_current = was_started && worker.attempt == world.seen.claims;
        world.seen.commit(worker.attempt, is_current);
    }
    Step::Settle
}

/// Gives the job back because of an outage. If that is refused, the patience is over and the job
/// fails, or the job is not the worker's any more.
fn postpone(protocol: &Protocol, world: &mut World, index: usize) -> Step {
    let had_patience = world.job.as_ref().is_none_or(|job| job.outage_since_ms != Some(EARLIER_MS));
    if !change(protocol, world, index, Transition::Postpone) {
        return Step::End(Ending::Fail);
    }
    if !had_patience {
        world.seen.note(Wrong::PostponedTooLong);
    }
    world.seen.attempts -= 1;
    world.seen.postponed += 1;
    world.seen.is_in_outage = true;
    Step::Settle
}

fn end_unchecked(protocol: &Protocol, world: &mut World, index: usize) -> Step {
    let worker = world.workers[index];
    let input = input(worker.epoch, protocol.owner(index), key(protocol, worker));
    let unchecked = Rule { when: &[], ..*protocol.rules.get(Transition::Commit) };
    if let Some(job) = &mut world.job {
        let is_current = job.state == JobState::Started && worker.attempt == world.seen.claims;
        unchecked.apply(job, &input);
        world.seen.commit(worker.attempt, is_current);
    }
    Step::Settle
}

fn read_back(protocol: &Protocol, world: &mut World, index: usize) {
    let worker = world.workers[index];
    let (Some(job), Step::ReadBack(ending)) = (&world.job, worker.step) else { return };
    let is_own = job.state == JobState::Started
        && job.epoch == i64::from(worker.epoch)
        && job.owner == Some(protocol.owner(index));
    let step = match (is_own, job.cancel_requested) {
        // The ending was stored, or the job is not the worker's any more.
        (false, _) => Step::Settle,
        (true, true) => Step::End(Ending::Cancel),
        (true, false) => Step::End(ending),
    };
    go(world, index, step);
}
