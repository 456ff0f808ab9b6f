//! The model can do what it is there for: an invariant of something that never happens says nothing.

use std::collections::{BTreeSet, HashSet, VecDeque};

use export_core::job::JobState;
use export_core::rules::Transition;
use export_model::action::Action;
use export_model::protocol::{Bounds, Protocol};
use export_model::steps;
use export_model::world::World;

/// All worlds within the bounds, and the names of all actions on the way.
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

/// The action's name, whichever process takes it.
fn name(action: Action) -> String {
    match action {
        Action::SweepLost(transition) => format!("{transition:?}"),
        _ => format!("{action:?}").split('(').next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn everything_that_can_happen_does() {
    let (_, names) = explore(&Protocol::new(Bounds { faults: 1, max_attempts: 1, ..Bounds::USUAL }));
    let (_, more) = explore(&Protocol::new(Bounds { faults: 1, ..Bounds::USUAL }));
    let names: BTreeSet<_> = names.union(&more).collect();
    for transition in [Transition::ReleaseLost, Transition::FailLost, Transition::CancelLost] {
        assert!(names.contains(&format!("{transition:?}")), "{transition:?} never happens: {names:?}");
    }
    // The variants of `Action`, and three for the sweeper's instead of one.
    assert_eq!(names.len(), 42 + 2, "{names:?}");
}

#[test]
fn the_scenes_that_matter_are_reached() {
    let protocol = Protocol::new(Bounds { faults: 1, ..Bounds::USUAL });
    let (worlds, _) = explore(&protocol);
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
    reached("two workers that both believe the job theirs", |world, _| {
        world.workers.iter().all(|worker| worker.is_at_work())
    });
    reached("a zombie at work on a finished job", |world, state| {
        state == JobState::Finished && world.workers.iter().any(|worker| worker.is_exporting())
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
