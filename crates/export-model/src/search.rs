//! The search through everything that can happen, by stateright.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::action::Action;
use crate::protocol::Protocol;
use crate::rest::WaysToRest;
use crate::world::World;
use crate::{properties, steps};

/// Threads of one check.
const THREADS: usize = 2;

/// One search through everything that can happen.
pub(crate) struct Search {
    pub(crate) protocol: Protocol,
    pub(crate) ways_to_rest: WaysToRest,
}

impl Model for Search {
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
        self.protocol.is_within_bounds(world)
    }
}

/// What a check came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Different worlds that were looked at.
    pub unique_states: usize,
    /// Steps from the first world to the one farthest away, the first included.
    pub depth: usize,
    /// How long it took.
    pub duration: Duration,
    /// What was violated, and the way there. Empty if all of the protocol was looked at and is in order.
    pub violations: Vec<Violation>,
}

/// One invariant that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Its name, one of [`properties`].
    pub property: &'static str,
    /// What happened, in order.
    pub actions: Vec<Action>,
    /// Where it led.
    pub world: World,
}

impl Outcome {
    /// The names of the invariants that do not hold.
    pub fn violated(&self) -> Vec<&'static str> {
        self.violations.iter().map(|violation| violation.property).collect()
    }
}

/// Looks at everything that can happen, nearest first, until something is violated or nothing is left.
pub fn check(protocol: Protocol) -> Outcome {
    search(protocol, HasDiscoveries::AnyFailures, THREADS)
}

/// Looks at what can happen, nearest first, until this property is violated or nothing is left. One thread: the same
/// way is found each time.
pub fn find(protocol: Protocol, property: &'static str) -> Outcome {
    search(protocol, HasDiscoveries::AnyOf([property].into()), 1)
}

fn search(protocol: Protocol, until: HasDiscoveries, threads: usize) -> Outcome {
    let start = Instant::now();
    let search = Search { protocol, ways_to_rest: WaysToRest::default() };
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
