//! The API: create, dispatch, sweep, cancel.
//!
//! Accepting a job ends with the answer; the dispatcher publishes its message. Dispatching and
//! publishing again are the same steps here (read the job, publish, mark); they differ only in
//! whether the job counts as published. The model has no turns of dispatchers and no order of jobs:
//! there is one job, and a dispatcher may lose its turn at any time, so two dispatchers may act at
//! once.

use crate::applied::{ApplyToJob, Record};
use export_core::job::JobState;
use export_core::rules::Transition;

use crate::action::Action;
use crate::protocol::{Departure, NOW_MS, Protocol, input};
use crate::seen::Wrong;
use crate::world::{Canceller, Publisher, World};

/// A dispatcher publishes an unpublished job only while the broker has fewer messages than this. A
/// sweeper publishes a job again only while the broker has one message less. More copies of the
/// same message would only add similar states. (The service limits the messages of all jobs
/// together, by the number of jobs that count as published.)
const MESSAGES_MAX: u8 = 3;

/// Changes by which sweepers take jobs from lost workers.
const FROM_LOST_WORKERS: [Transition; 3] =
    [Transition::ReleaseLost, Transition::FailLost, Transition::CancelLost];

pub(super) fn enabled(protocol: &Protocol, world: &World, actions: &mut Vec<Action>) {
    for (index, publisher) in world.publishers.iter().enumerate() {
        match publisher {
            Publisher::Idle => {
                // The first task is a request's. Its copy of the API also has a dispatcher, which
                // acts only in some bounds.
                let is_there = index == 1 || protocol.bounds.two_sweepers;
                if is_there && needs_message(protocol, world) {
                    actions.push(Action::Sweep(index));
                }
                continue;
            }
            Publisher::Insert => actions.push(Action::Insert(index)),
            Publisher::Publish { .. } => actions.push(Action::Publish(index)),
            Publisher::Mark { .. } => actions.push(Action::Mark(index)),
            Publisher::Answer => actions.push(Action::Answer(index)),
        }
        if world.faults_left > 0 {
            faults(index, *publisher, actions);
        }
    }
    sweep_lost(protocol, world, actions);
    match world.canceller {
        Canceller::Idle if protocol.bounds.cancel && world.job.is_some() => actions.push(Action::Cancel),
        Canceller::Running => actions.push(Action::CancelAsRunning),
        Canceller::Idle | Canceller::Done => {}
    }
}

fn faults(index: usize, publisher: Publisher, actions: &mut Vec<Action>) {
    actions.push(Action::CrashApi(index));
    match publisher {
        Publisher::Insert => actions.extend([Action::InsertFails(index), Action::InsertUnanswered(index)]),
        Publisher::Publish { .. } => {
            actions.extend([Action::PublishFails(index), Action::PublishUnconfirmed(index)]);
        }
        _ => {}
    }
}

/// Whether a dispatcher or sweeper that reads the job now would publish it.
fn needs_message(protocol: &Protocol, world: &World) -> bool {
    let Some(job) = &world.job else { return false };
    let messages_max = if job.published_at_ms.is_none() { MESSAGES_MAX } else { MESSAGES_MAX - 1 };
    protocol.publishes(job) && job.run_after_ms <= NOW_MS && world.messages() < messages_max
}

fn sweep_lost(protocol: &Protocol, world: &World, actions: &mut Vec<Action>) {
    let Some(job) = &world.job else { return };
    if protocol.departs(Departure::NoLeaseScan) {
        return;
    }
    let input = input(0, 0, 0);
    let changes = FROM_LOST_WORKERS.into_iter();
    let changes = changes.filter(|transition| protocol.rules.get(*transition).holds(job, &input));
    actions.extend(changes.map(Action::SweepLost));
}

pub(super) fn take(protocol: &Protocol, world: &mut World, action: Action) -> bool {
    match action {
        Action::Insert(index) => {
            world.job = Some(Record::new(protocol.bounds.max_attempts, NOW_MS));
            world.publishers[index] = Publisher::Answer;
        }
        Action::InsertUnanswered(index) => {
            world.job = Some(Record::new(protocol.bounds.max_attempts, NOW_MS));
            world.publishers[index] = Publisher::Idle;
        }
        Action::InsertFails(index) | Action::CrashApi(index) => world.publishers[index] = Publisher::Idle,
        Action::Publish(index) => {
            world.ready += 1;
            published(protocol, world, index, true);
        }
        Action::PublishUnconfirmed(index) => {
            world.ready += 1;
            published(protocol, world, index, false);
        }
        Action::PublishFails(index) => published(protocol, world, index, false),
        Action::Mark(index) => mark(protocol, world, index),
        Action::Answer(index) => {
            world.seen.is_accepted = true;
            let next = if world.job.is_none() { Publisher::Insert } else { Publisher::Idle };
            world.publishers[index] = next;
        }
        Action::Sweep(index) => {
            let epoch = world.job.as_ref().map_or(0, |job| job.epoch);
            world.publishers[index] = first(protocol, u8::try_from(epoch).unwrap_or(u8::MAX));
        }
        Action::SweepLost(transition) => {
            if let Some(job) = &mut world.job {
                protocol.apply(transition, job, &input(0, 0, 0));
                if transition == Transition::ReleaseLost {
                    world.seen.lost_workers += 1;
                    world.seen.is_in_outage = false;
                }
                if job.state == JobState::Failed && job.attempts < job.max_attempts {
                    world.seen.note(Wrong::GivenUpEarly);
                }
            }
        }
        Action::Cancel => cancel(protocol, world, Transition::CancelWaiting),
        Action::CancelAsRunning => cancel(protocol, world, Transition::RequestCancel),
        _ => return false,
    }
    true
}

fn first(protocol: &Protocol, epoch: u8) -> Publisher {
    if protocol.departs(Departure::MarkBeforePublish) {
        Publisher::Mark { epoch }
    } else {
        Publisher::Publish { epoch }
    }
}

fn published(protocol: &Protocol, world: &mut World, index: usize, is_confirmed: bool) {
    let Publisher::Publish { epoch } = world.publishers[index] else { return };
    let is_marked = is_confirmed || protocol.departs(Departure::MarkUnconfirmed);
    world.publishers[index] = if is_marked && !protocol.departs(Departure::MarkBeforePublish) {
        Publisher::Mark { epoch }
    } else {
        Publisher::Idle
    };
}

fn mark(protocol: &Protocol, world: &mut World, index: usize) {
    let Publisher::Mark { epoch } = world.publishers[index] else { return };
    if let Some(job) = &mut world.job {
        protocol.apply(Transition::MarkPublished, job, &input(epoch, 0, 0));
    }
    world.publishers[index] = if protocol.departs(Departure::MarkBeforePublish) {
        Publisher::Publish { epoch }
    } else {
        Publisher::Idle
    };
}

/// Cancels the job as a waiting one, then as a running one, and again if it was released in
/// between.
fn cancel(protocol: &Protocol, world: &mut World, transition: Transition) {
    let Some(job) = &mut world.job else { return };
    world.canceller = if protocol.apply(transition, job, &input(0, 0, 0)) {
        world.seen.is_cancel_accepted = true;
        Canceller::Done
    } else if transition == Transition::CancelWaiting {
        Canceller::Running
    } else if job.state.is_active() {
        Canceller::Idle
    } else {
        Canceller::Done
    };
}
