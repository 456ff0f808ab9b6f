//! Whether a world can still come to rest: the invariant that no run gets stuck.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::{HashMap, HashSet, RandomState};

use crate::action::Kind;
use crate::protocol::Protocol;
use crate::steps;
use crate::world::World;

/// So many that threads seldom wait for each other.
const SHARDS: usize = 64;

/// Worlds are told apart by their hash, as the checker itself does.
const HASHES: RandomState = RandomState::with_seeds(1, 2, 3, 4);

/// Worlds of which it is known whether there is a way to rest, by hash.
#[derive(Clone, Debug)]
pub(crate) struct WaysToRest(Arc<[Mutex<HashMap<u64, bool>>; SHARDS]>);

impl Default for WaysToRest {
    fn default() -> Self {
        Self(Arc::new(std::array::from_fn(|_| Mutex::default())))
    }
}

impl WaysToRest {
    fn get(&self, hash: u64) -> Option<bool> {
        self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner).get(&hash).copied()
    }

    fn learn(&self, hash: u64, is_there: bool) {
        self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner).insert(hash, is_there);
    }

    fn shard(&self, hash: u64) -> &Mutex<HashMap<u64, bool>> {
        let shard = usize::try_from(hash % SHARDS as u64);
        &self.0[shard.unwrap_or_default()]
    }
}

/// A world on the way, and which one it came from.
struct Visit {
    world: World,
    hash: u64,
    came_from: Option<usize>,
}

/// Whether everything can come to rest from here by itself: without faults, and with no choice of the client.
///
/// Asked of every reachable world, this says that no run gets stuck: whatever happens without a fault leads to another
/// reachable world, so a way to rest stays open until one is taken. A run could only go on for ever by passing over,
/// again and again, a step that can be taken.
pub(crate) fn can_be_reached(protocol: &Protocol, known: &WaysToRest, world: &World) -> bool {
    let start = HASHES.hash_one(world);
    if let Some(is_there) = known.get(start) {
        return is_there;
    }
    let mut seen = HashSet::default();
    seen.insert(start);
    let mut visits = vec![Visit { world: world.clone(), hash: start, came_from: None }];
    let mut open = vec![0];
    let mut actions = Vec::new();
    while let Some(index) = open.pop() {
        let Visit { world, hash, .. } = &visits[index];
        let is_there = if world.is_at_rest() { Some(true) } else { known.get(*hash) };
        if is_there == Some(true) {
            learn_way(known, &visits, index);
            return true;
        }
        if is_there == Some(false) {
            continue;
        }
        let world = world.clone();
        actions.clear();
        steps::enabled(protocol, &world, &mut actions);
        // What is added last is tried first: workers before sweepers, so that the way is short.
        for action in actions.iter().rev().filter(|action| action.kind() == Kind::Step) {
            let next = steps::after(protocol, &world, *action);
            let hash = HASHES.hash_one(&next);
            if protocol.is_within_bounds(&next) && seen.insert(hash) {
                open.push(visits.len());
                visits.push(Visit { world: next, hash, came_from: Some(index) });
            }
        }
    }
    // Nothing that was visited leads to rest: it would have been found.
    for visit in &visits {
        known.learn(visit.hash, false);
    }
    false
}

fn learn_way(known: &WaysToRest, visits: &[Visit], last: usize) {
    let mut way = Some(last);
    while let Some(index) = way {
        known.learn(visits[index].hash, true);
        way = visits[index].came_from;
    }
}
