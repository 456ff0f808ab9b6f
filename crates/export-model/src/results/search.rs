//! The search through everything that can happen, nearest first.
//!
//! Of a world only its hash is kept, as the checker of the job protocol does, with the steps that
//! lead to it. That every job ends is checked afterwards, by going back from the worlds at rest.

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;

use super::action::{Action, Kind};
use super::world::{EPOCH_MAX, World};
use super::{Results, properties, steps};

const HASHES: RandomState = RandomState::with_seeds(5, 6, 7, 8);

/// The outcome of a check.
#[derive(Debug)]
pub struct Outcome {
    /// Different worlds that were reached.
    pub states: usize,
    /// The first violation, if there is one.
    pub violation: Option<Violation>,
}

/// A property that does not hold.
#[derive(Debug)]
pub struct Violation {
    /// Its name, one of [`properties`].
    pub property: &'static str,
    /// What happened, in order.
    pub actions: Vec<Action>,
    /// The world that it led to.
    pub world: World,
}

/// The worlds reached so far, by number.
#[derive(Default)]
struct Reached {
    numbers: HashMap<u64, u32, RandomState>,
    from: Vec<Option<(u32, Action)>>,
    /// Steps that are neither choices nor faults, as (to, from).
    steps: Vec<(u32, u32)>,
    at_rest: Vec<bool>,
}

impl Reached {
    /// The world's number, and whether it is new.
    fn add(&mut self, world: &World, from: Option<(u32, Action)>) -> (u32, bool) {
        let next = u32::try_from(self.from.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(HASHES.hash_one(world)).or_insert(next);
        if number == next {
            self.from.push(from);
            self.at_rest.push(world.is_at_rest());
        }
        (number, number == next)
    }

    fn violation(&self, results: &Results, property: &'static str, at: u32) -> Violation {
        let mut actions = Vec::new();
        let mut number = at;
        while let Some((before, action)) = self.from[number as usize] {
            actions.push(action);
            number = before;
        }
        actions.reverse();
        let start = World::new(&results.bounds);
        let world = actions.iter().fold(start, |world, action| steps::after(results, &world, *action));
        Violation { property, actions, world }
    }

    /// A world from which no steps but choices and faults lead to rest.
    fn stuck(mut self) -> (Self, Option<u32>) {
        self.steps.sort_unstable();
        let mut comes_to_rest = std::mem::take(&mut self.at_rest);
        let mut open: Vec<u32> =
            (0_u32..).zip(&comes_to_rest).filter(|(_, rests)| **rests).map(|(n, _)| n).collect();
        while let Some(number) = open.pop() {
            let first = self.steps.partition_point(|(to, _)| *to < number);
            for (_, before) in self.steps[first..].iter().take_while(|(to, _)| *to == number) {
                if !std::mem::replace(&mut comes_to_rest[*before as usize], true) {
                    open.push(*before);
                }
            }
        }
        let stuck = comes_to_rest.iter().position(|rests| !rests);
        (self, stuck.and_then(|number| u32::try_from(number).ok()))
    }
}

/// Looks at everything that can happen, nearest first, until a property is violated or nothing is
/// left.
pub fn check(results: &Results) -> Outcome {
    let mut reached = Reached::default();
    let start = World::new(&results.bounds);
    reached.add(&start, None);
    let mut open = VecDeque::from([(0, start)]);
    while let Some((number, world)) = open.pop_front() {
        for action in steps::enabled(results, &world) {
            let after = steps::after(results, &world, action);
            let (next, is_new) = reached.add(&after, Some((number, action)));
            if action.kind() == Kind::Step {
                reached.steps.push((next, number));
            }
            if !is_new {
                continue;
            }
            if let Some(property) = properties::broken(results, &after) {
                let states = reached.from.len();
                return Outcome { states, violation: Some(reached.violation(results, property, next)) };
            }
            assert!(
                after.jobs.iter().flatten().all(|job| job.epoch < i64::from(EPOCH_MAX)),
                "too many claims"
            );
            open.push_back((next, after));
        }
    }
    let states = reached.from.len();
    let (reached, stuck) = reached.stuck();
    let violation = stuck.map(|number| reached.violation(results, properties::ALL_END, number));
    Outcome { states, violation }
}
