//! What can happen in a world, and what it leads to.

mod api;
mod broker;
mod clock;
mod worker;

use crate::action::{Action, Kind};
use crate::protocol::Protocol;
use crate::world::World;

/// Adds all actions that can happen next.
pub fn enabled(protocol: &Protocol, world: &World, actions: &mut Vec<Action>) {
    worker::enabled(world, actions);
    broker::enabled(protocol, world, actions);
    api::enabled(protocol, world, actions);
    clock::enabled(world, actions);
}

/// The world after this action.
pub fn after(protocol: &Protocol, world: &World, action: Action) -> World {
    let mut next = world.clone();
    if action.kind() == Kind::Fault {
        next.faults_left -= 1;
    }
    let is_taken = worker::take(protocol, &mut next, action)
        || broker::take(protocol, &mut next, action)
        || api::take(protocol, &mut next, action)
        || clock::take(protocol, &mut next, action);
    assert!(is_taken, "no process takes {action:?}");
    if let (Some(before), Some(after)) = (&world.job, &next.job) {
        let claims = next.seen.claims - world.seen.claims;
        next.seen.compare(before, after, claims);
    }
    next
}
