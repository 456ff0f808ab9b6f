//! The model reaches the scenes that its invariants are about: an invariant of a scene that never
//! happens proves nothing.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use export_core::job::JobState;
use export_core::rules::Transition;
use export_model::action::{Action, Kind};
use export_model::protocol::{Bounds, Departure, Protocol};
use export_model::world::{Worker, World};
use export_model::{check, steps};

/// All worlds within the bounds, and the names of all actions that lead to them.
fn explore(protocol: &Protocol) -> (HashSet<World>, BTreeSet<String>) {
    let mut worlds = HashSet::from([World::new(protocol)]);
    let mut open = VecDeque::from([World::new(protocol)]);
    let mut names = BTreeSet::new();
    let mut actions = Vec::new();
    while let Some(world) = open.pop_front() {
        actions.clear();
        steps::enabled(protocol, &world, &mut actions);
        for action in &actions {
            names.insert(name(*action));
            let next = steps::after(protocol, &world, *action);
            if worlds.insert(next.clone()) {
                open.push_back(next);
            }
        }
    }
    (worlds, names)
}

/// Number of worlds that cannot come to rest, found by going back from the worlds at rest over
/// steps alone.
fn stuck_worlds(protocol: &Protocol) -> usize {
    let (worlds, _) = explore(protocol);
    let worlds: Vec<World> = worlds.into_iter().collect();
    let positions: HashMap<&World, usize> = worlds.iter().zip(0..).collect();
    let mut came_from = vec![Vec::new(); worlds.len()];
    let mut actions = Vec::new();
    for (position, world) in worlds.iter().enumerate() {
        actions.clear();
        steps::enabled(protocol, world, &mut actions);
        for action in actions.iter().filter(|action| action.kind() == Kind::Step) {
            came_from[positions[&steps::after(protocol, world, *action)]].push(position);
        }
    }
    let mut comes_to_rest: Vec<bool> = worlds.iter().map(World::is_at_rest).collect();
    let mut open: Vec<usize> = (0..worlds.len()).filter(|position| comes_to_rest[*position]).collect();
    while let Some(position) = open.pop() {
        for before in &came_from[position] {
            if !comes_to_rest[*before] {
                comes_to_rest[*before] = true;
                open.push(*before);
            }
        }
    }
    comes_to_rest.iter().filter(|comes| !**comes).count()
}

/// The action's name without its process.
fn name(action: Action) -> String {
    match action {
        Action::SweepLost(transition) => format!("{transition:?}"),
        _ => format!("{action:?}").split('(').next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn everything_that_can_happen_does() {
    let (_, names) = explore(&Protocol::new(Bounds { faults: 1, max_attempts: 1, ..Bounds::USUAL }));
    let (_, more) = explore(&Protocol::new(Bounds { faults: 1, outages: 1, ..Bounds::USUAL }));
    let names: BTreeSet<_> = names.union(&more).collect();
    for transition in [Transition::ReleaseLost, Transition::FailLost, Transition::CancelLost] {
        assert!(names.contains(&format!("{transition:?}")), "{transition:?} never happens: {names:?}");
    }
    // The variants of `Action`, with three for `SweepLost` instead of one.
    assert_eq!(names.len(), 44 + 2, "{names:?}");
}

#[test]
fn the_scenes_that_matter_are_reached() {
    let protocol = Protocol::new(Bounds { faults: 1, ..Bounds::USUAL });
    let (worlds, _) = explore(&protocol);
    assert_eq!(worlds.len(), check(protocol.clone()).unique_states, "the checker has reached all of them");
    let reached = |scene: &str, is_so: fn(&World, JobState) -> bool| {
        let found = worlds.iter().any(|world| world.job.as_ref().is_some_and(|job| is_so(world, job.state)));
        assert!(found, "never reached: {scene}");
    };
    reached("an expired job", |_, state| state == JobState::Expired);
    reached("a failed job", |_, state| state == JobState::Failed);
    reached("a cancelled job", |_, state| state == JobState::Cancelled);
    reached("a job finished by its second attempt", |world, state| {
        state == JobState::Finished && world.seen.committed == Some(2)
    });
    reached("a job that finished before its 202", |world, state| {
        state == JobState::Finished && !world.seen.is_accepted
    });
    reached("two workers that both act as if they had the job", |world, _| {
        world.workers.iter().all(Worker::is_at_work)
    });
    reached("a zombie at work on a finished job", |world, state| {
        state == JobState::Finished && world.workers.iter().any(Worker::is_exporting)
    });
    reached("two complete objects", |world, _| {
        let complete = world.objects.iter().filter(|object| object.parts.iter().all(Option::is_some));
        complete.count() == 2
    });
    reached("the same job delivered to both workers", |world, _| {
        world.workers.iter().all(|worker| worker.has_delivery)
    });
    reached("a finished job with messages left", |world, state| {
        state == JobState::Finished && world.messages() > 0
    });
    reached("a running job without a message", |world, state| {
        state == JobState::Started && world.messages() == 0
    });
}

#[test]
fn going_back_from_rest_leads_to_every_world() {
    let protocol = Protocol::new(Bounds { faults: 1, ..Bounds::USUAL });
    assert_eq!(stuck_worlds(&protocol), 0);
    let departures = vec![Departure::NoLeaseScan];
    assert!(
        stuck_worlds(&Protocol { departures, ..protocol }) > 0,
        "lost workers' jobs are stuck without a sweeper"
    );
}
