//! What can happen next, and what it leads to.

use export_core::job::JobState;
use export_core::rules::{Effect, Input, Record, Transition};

use super::Sharing;
use super::world::{Creator, JOBS, MAX_ATTEMPTS, SWEEPERS, Sweeper, World, name, position};
use crate::protocol::{EARLIER_MS, LATER_MS, NOW_MS};

/// Something that happens. Jobs are meant by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The request goes on.
    Create(usize),
    /// It finds that the leader's result will be gone too soon.
    FindStale(usize),
    /// It dies.
    CreatorDies(usize),
    /// A change of a job by a worker, a sweeper of leases or its owner.
    Change(Transition, usize),
    /// A result's time is over.
    TimeIsOver(usize),
    /// The job is lost with a primary that nobody had heard of.
    Vanish(usize),
    /// A sweeper looks at the leader that this job follows.
    Look(usize, usize),
    /// A sweeper makes its change of this job.
    Settle(usize, usize),
    /// A sweeper goes on to its next step.
    GoOn(usize),
    /// A sweeper ends, whether it is done or dies.
    Leave(usize),
}

impl Action {
    /// Whether nothing may depend on its happening.
    pub fn is_fault(self) -> bool {
        use Transition as T;
        matches!(
            self,
            Self::CreatorDies(_)
                | Self::TimeIsOver(_)
                | Self::Vanish(_)
                | Self::FindStale(_)
                | Self::Change(T::Fail | T::ReleaseLost | T::CancelWaiting | T::RequestCancel, _)
        )
    }
}

/// Everything that can happen.
pub fn enabled(sharing: &Sharing, world: &World) -> Vec<Action> {
    use Transition as T;
    let mut actions = Vec::new();
    for index in 0..JOBS {
        let creator = world.creators[index];
        if creator != Creator::Done {
            actions.extend([Action::Create(index), Action::CreatorDies(index)]);
        }
        if creator == Creator::Look {
            actions.push(Action::FindStale(index));
        }
        let Some(job) = &world.jobs[index] else { continue };
        let may = |transition| sharing.rules.get(transition).holds(job, &input(world, job, Sight::default()));
        let of_worker = [T::Claim, T::Commit, T::CancelRunning, T::Expire];
        actions.extend(
            of_worker.into_iter().filter(|change| may(*change)).map(|change| Action::Change(change, index)),
        );
        if world.faults_left > 0 {
            let faults = [T::Fail, T::ReleaseLost];
            actions.extend(
                faults.into_iter().filter(|change| may(*change)).map(|change| Action::Change(change, index)),
            );
            if job.leads && job.state == JobState::NotStarted {
                actions.push(Action::Vanish(index));
            }
        }
        if world.cancels_left > 0 {
            let cancels = [T::CancelWaiting, T::RequestCancel];
            actions.extend(
                cancels.into_iter().filter(|change| may(*change)).map(|change| Action::Change(change, index)),
            );
        }
        if job.result == Some(name(index)) && !world.over[index] {
            actions.push(Action::TimeIsOver(index));
        }
        let is_waiting = job.state == JobState::NotStarted && job.follows.is_some();
        for sweeper in 0..SWEEPERS {
            match world.sweepers[sweeper] {
                Sweeper::Idle if is_waiting && sharing.has_sweeper => {
                    actions.push(Action::Look(sweeper, index));
                }
                Sweeper::Idle | Sweeper::Ended(_) => {}
                _ => actions.push(Action::Settle(sweeper, index)),
            }
        }
    }
    for sweeper in 0..SWEEPERS {
        match world.sweepers[sweeper] {
            Sweeper::Idle => {}
            Sweeper::Ended(_) | Sweeper::Gone(_) => {
                actions.extend([Action::GoOn(sweeper), Action::Leave(sweeper)]);
            }
            _ => actions.push(Action::Leave(sweeper)),
        }
    }
    actions
}

/// What it leads to.
pub fn after(sharing: &Sharing, world: &World, action: Action) -> World {
    let mut world = world.clone();
    match action {
        Action::Create(index) => create(sharing, &mut world, index),
        Action::FindStale(index) => {
            world.creators[index] = world.leader().map_or(Creator::Lead, Creator::Displace);
        }
        Action::CreatorDies(index) => world.creators[index] = Creator::Done,
        Action::Change(transition, index) => {
            change(sharing, &mut world, transition, index, Sight::default());
            match transition {
                Transition::Fail | Transition::ReleaseLost => world.faults_left -= 1,
                Transition::CancelWaiting | Transition::RequestCancel => world.cancels_left -= 1,
                _ => {}
            }
        }
        Action::TimeIsOver(index) => {
            world.over[index] = true;
            let theirs =
                |job: &&mut Record<u8>| job.result == Some(name(index)) && job.expires_at_ms.is_some();
            for job in world.jobs.iter_mut().flatten().filter(theirs) {
                job.expires_at_ms = Some(EARLIER_MS);
            }
        }
        Action::Vanish(index) => {
            world.jobs[index] = None;
            world.faults_left -= 1;
        }
        Action::Look(sweeper, index) => look(&mut world, sweeper, index),
        Action::Settle(sweeper, index) => settle(sharing, &mut world, sweeper, index),
        Action::GoOn(sweeper) => go_on(sharing, &mut world, sweeper),
        Action::Leave(sweeper) => world.sweepers[sweeper] = Sweeper::Idle,
    }
    world
}

fn create(sharing: &Sharing, world: &mut World, index: usize) {
    let new = Record::new(MAX_ATTEMPTS, NOW_MS);
    world.creators[index] = match world.creators[index] {
        Creator::Lead if sharing.has_index && world.leader().is_some() => Creator::Look,
        Creator::Lead => {
            world.jobs[index] = Some(Record { leads: true, ..new });
            Creator::Done
        }
        Creator::Look => match world.leader() {
            None => Creator::Lead,
            Some(leader) if world.is_forced && index + 1 == JOBS => Creator::Displace(leader),
            Some(leader) if world.job(leader).is_some_and(|job| job.cancel_requested) => {
                Creator::Displace(leader)
            }
            Some(leader) => Creator::Follow(leader),
        },
        Creator::Follow(leader) => {
            world.jobs[index] = Some(Record { follows: Some(leader), ..new });
            Creator::Done
        }
        Creator::Displace(leader) => {
            give_way(sharing, world, leader);
            Creator::Lead
        }
        Creator::Done => Creator::Done,
    };
}

fn give_way(sharing: &Sharing, world: &mut World, leader: u8) {
    if change(sharing, world, Transition::GiveWay, position(leader), Sight::default()) {
        world.gave_way[position(leader)] = true;
    }
}

fn look(world: &mut World, sweeper: usize, index: usize) {
    let Some(leader) = world.jobs[index].as_ref().and_then(|job| job.follows) else { return };
    world.sweepers[sweeper] = match world.job(leader) {
        Some(job) if job.state.is_active() => Sweeper::Idle,
        Some(job) if job.state == JobState::Failed => Sweeper::Failed(leader),
        Some(job) if job.state == JobState::Finished && !world.over[position(leader)] => {
            Sweeper::Finished(leader)
        }
        None | Some(_) => Sweeper::Ended(leader),
    };
}

fn settle(sharing: &Sharing, world: &mut World, sweeper: usize, index: usize) {
    let (transition, sight) = match world.sweepers[sweeper] {
        Sweeper::Finished(leader) => (Transition::Adopt, Sight { leader, next_leader: 0 }),
        Sweeper::Failed(leader) => (Transition::AdoptFailure, Sight { leader, next_leader: 0 }),
        Sweeper::Gone(leader) => (Transition::StandAlone, Sight { leader, next_leader: 0 }),
        Sweeper::Next(leader, next_leader) => (Transition::FollowNext, Sight { leader, next_leader }),
        Sweeper::Idle | Sweeper::Ended(_) => return,
    };
    change(sharing, world, transition, index, sight);
}

fn go_on(sharing: &Sharing, world: &mut World, sweeper: usize) {
    world.sweepers[sweeper] = match world.sweepers[sweeper] {
        Sweeper::Ended(leader) => {
            give_way(sharing, world, leader);
            Sweeper::Gone(leader)
        }
        Sweeper::Gone(leader) => world.leader().map_or(Sweeper::Idle, |next| Sweeper::Next(leader, next)),
        other => other,
    };
}

/// The leaders that the caller of a change has in mind.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    leader: u8,
    next_leader: u8,
}

/// One compare-and-set; whether it was made. The index refuses a second leader.
fn change(sharing: &Sharing, world: &mut World, transition: Transition, index: usize, sight: Sight) -> bool {
    let rule = sharing.rules.get(transition);
    let leads = rule.then.contains(&Effect::Lead);
    if leads && sharing.has_index && world.leader().is_some_and(|leader| position(leader) != index) {
        return false;
    }
    let Some(job) = &world.jobs[index] else { return false };
    let mut input = input(world, job, sight);
    input.result = if transition == Transition::Adopt { sight.leader } else { name(index) };
    let Some(job) = &mut world.jobs[index] else { return false };
    rule.apply(job, &input)
}

/// What the caller brings along: who has a claim is right about it here.
fn input(world: &World, job: &Record<u8>, sight: Sight) -> Input<u8> {
    let is_over = sight.leader > 0 && world.over[position(sight.leader)];
    Input {
        // A lease runs out whenever it likes.
        now_ms: NOW_MS,
        epoch: job.epoch,
        owner: 1,
        result: 0,
        error: 1,
        lease_ms: EARLIER_MS,
        back_off_ms: NOW_MS,
        retention_ms: LATER_MS,
        leader: sight.leader,
        next_leader: sight.next_leader,
        shared_until_ms: Some(if is_over { EARLIER_MS } else { LATER_MS }),
    }
}
