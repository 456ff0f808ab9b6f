//! Whether a world can still come to rest: the invariant that no run gets stuck.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::{HashMap, HashSet, RandomState};

use crate::action::{Action, Kind};
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

/// A world on the way, and the steps from it that were not tried yet.
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
        // Taken from the end: workers before sweepers, so that the way is short.
        untried.reverse();
        Self { world, hash, untried }
    }
}

/// Whether everything can come to rest from here by itself: without faults, and with no choice of the client.
///
/// Asked of every reachable world, this says that no run gets stuck: whatever happens without a fault leads to another
/// reachable world, so a way to rest stays open until one is taken. A run could only go on for ever by passing over,
/// again and again, a step that can be taken.
pub(crate) fn can_be_reached(protocol: &Protocol, known: &WaysToRest, world: &World) -> bool {
    // How many faults might still happen makes no difference when none does.
    let start = World { faults_left: 0, ..world.clone() };
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
        if !protocol.is_within_bounds(&next) || !seen.insert(hash) {
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
    // Nothing that was seen leads to rest: it would have been found.
    for hash in seen {
        known.learn(hash, false);
    }
    false
}
