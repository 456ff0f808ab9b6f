//! The search through all runs, by stateright.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::action::Action;
use crate::protocol::Protocol;
use crate::rest::WaysToRest;
use crate::run_space::RunSpace;
use crate::world::World;
use crate::{properties, steps};

/// Threads of one check.
const THREADS: usize = 2;

impl Model for RunSpace {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.protocol)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        steps::enabled(&self.protocol, world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(steps::after(&self.protocol, world, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.is_within(&self.protocol.bounds)
    }
}

/// The outcome of a check.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Different worlds that were reached.
    pub unique_states: usize,
    /// Number of worlds on the longest of the shortest paths.
    pub depth: usize,
    /// Duration of the check.
    pub duration: Duration,
    /// The violations found. Empty if all runs were checked and no invariant is violated.
    pub violations: Vec<Violation>,
}

/// An invariant that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Its name, one of [`properties`].
    pub property: &'static str,
    /// What happened, in order.
    pub actions: Vec<Action>,
    /// The world that it led to.
    pub world: World,
}

impl Outcome {
    /// The names of the invariants that do not hold.
    pub fn violated(&self) -> Vec<&'static str> {
        self.violations.iter().map(|violation| violation.property).collect()
    }
}

/// Checks all runs, shortest first, until an invariant is violated or no run is left.
pub fn check(protocol: Protocol) -> Outcome {
    search(protocol, HasDiscoveries::AnyFailures, THREADS)
}

/// Checks runs, shortest first, until this property is violated or no run is left. It uses one
/// thread, so that it finds the same run each time.
pub fn find(protocol: Protocol, property: &'static str) -> Outcome {
    search(protocol, HasDiscoveries::AnyOf([property].into()), 1)
}

fn search(protocol: Protocol, until: HasDiscoveries, threads: usize) -> Outcome {
    let start = Instant::now();
    let search = RunSpace { protocol, ways_to_rest: WaysToRest::default() };
    let checker = search.checker().threads(threads).finish_when(until).spawn_bfs().join();
    let violations = checker.discoveries().into_iter().map(|(property, path)| Violation {
        property,
        world: path.last_state().clone(),
        actions: path.into_actions(),
    });
    let mut violations: Vec<_> = violations.collect();
    violations.sort_by_key(|violation| (violation.actions.len(), violation.property));
    Outcome {
        unique_states: checker.unique_state_count(),
        depth: checker.max_depth(),
        duration: start.elapsed(),
        violations,
    }
}
