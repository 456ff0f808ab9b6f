//! The invariant that no run gets stuck: every reachable world can come to rest.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::{HashMap, HashSet, RandomState};

use crate::action::{Action, Kind};
use crate::protocol::Protocol;
use crate::steps;
use crate::world::World;

/// Number of locks: enough that threads rarely wait for each other.
const SHARDS: usize = 64;

/// Worlds are identified by their hash, as in the checker itself.
const HASHES: RandomState = RandomState::with_seeds(1, 2, 3, 4);

/// For worlds by hash: whether a way to rest is known to exist.
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

/// A world on the current path, and its steps that were not tried yet.
struct Visit {
    world: World,
    hash: u64,
    untried: Vec<Action>,
}

impl Visit {
    fn new(protocol: &Protocol, world: World, hash: u64) -> Self {
        let mut untried = Vec::new();
        steps::enabled(protocol, &world, &mut untried);
        untried.retain(|action| action.kind() == Kind::Step);
        // Steps are taken from the end: workers before sweepers, so that paths are short.
        untried.reverse();
        Self { world, hash, untried }
    }
}

/// Whether the world can come to rest without faults and without choices of the client.
///
/// If this holds for every reachable world, no run gets stuck: every step leads to another
/// reachable world, so a way to rest stays open until it is taken. A run could continue for ever
/// only if it never took a step that is always possible.
pub(crate) fn can_be_reached(protocol: &Protocol, known: &WaysToRest, world: &World) -> bool {
    // The numbers of faults and outages left have no effect when none happens.
    let start = World { faults_left: 0, outages_left: 0, ..world.clone() };
    if start.is_at_rest() {
        return true;
    }
    let hash = HASHES.hash_one(&start);
    if let Some(is_there) = known.get(hash) {
        return is_there;
    }
    let mut seen = HashSet::default();
    seen.insert(hash);
    let mut way = vec![Visit::new(protocol, start, hash)];
    while let Some(visit) = way.last_mut() {
        let Some(action) = visit.untried.pop() else {
            way.pop();
            continue;
        };
        let next = steps::after(protocol, &visit.world, action);
        let hash = HASHES.hash_one(&next);
        if !next.is_within(&protocol.bounds) || !seen.insert(hash) {
            continue;
        }
        match known.get(hash) {
            Some(false) => {}
            None if !next.is_at_rest() => way.push(Visit::new(protocol, next, hash)),
            _ => {
                for visit in &way {
                    known.learn(visit.hash, true);
                }
                return true;
            }
        }
    }
    // No world that was visited leads to rest: the search would have found it.
    for hash in seen {
        known.learn(hash, false);
    }
    false
}
