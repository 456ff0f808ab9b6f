//! Jobs that share a result: every run within bounds of three requests for the same, whoever makes them, cancels them, works on them or sees
//! to the followers, and whatever dies in between.
//!
//! The changes are the rules of [`export_core::rules`] here, too. What one worker may do to another is not looked at again (that is what the
//! rest of this crate is for): here an attempt is claimed and ended. The unique index is the one thing that is not a rule: it refuses a second
//! leader.
//!
//! Start at [`check`]; then [`world::World`] for what there is, [`steps`] for what can happen, [`properties`] for what must be true, and
//! [`mutants`] for what happens without a part.

pub mod mutants;
pub mod properties;
pub mod steps;
pub mod world;

use std::collections::{HashMap, VecDeque};

use crate::protocol::Rules;
use steps::Action;
use world::World;

/// How much may happen.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Jobs that their owners may cancel.
    pub cancels: u8,
    /// Whether the last request says `force`.
    pub force: bool,
    /// Workers that are lost, leaders that are lost with the primary, and failures, together.
    pub faults: u8,
}

/// What is checked.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// The rules of the job store, or a mutant of them.
    pub rules: Rules,
    /// Whether the index lets one job lead.
    pub has_index: bool,
    /// Whether anybody sees to followers.
    pub has_sweeper: bool,
    /// How much may happen.
    pub bounds: Bounds,
}

impl Sharing {
    /// As it is.
    pub fn new(bounds: Bounds) -> Self {
        Self { rules: Rules::default(), has_index: true, has_sweeper: true, bounds }
    }
}

/// What a check came to.
#[derive(Debug)]
pub struct Outcome {
    /// Different worlds that were looked at.
    pub states: usize,
    /// The first violation: its property, and the way there.
    pub violation: Option<Violation>,
}

/// What was violated, what happened before that, and where it led.
pub type Violation = (&'static str, Vec<Action>, World);

/// Everything that was seen: each world once, with the step that led to it first.
#[derive(Default)]
struct Seen {
    worlds: Vec<World>,
    from: Vec<Option<(usize, Action)>>,
    numbers: HashMap<World, usize, ahash::RandomState>,
    /// By world: those from which a step that is no fault leads there.
    before: Vec<Vec<usize>>,
}

impl Seen {
    /// The world's number, and whether it is new.
    fn add(&mut self, world: World, from: Option<(usize, Action)>) -> (usize, bool) {
        if let Some(number) = self.numbers.get(&world) {
            return (*number, false);
        }
        let number = self.worlds.len();
        self.numbers.insert(world.clone(), number);
        self.worlds.push(world);
        self.from.push(from);
        self.before.push(Vec::new());
        (number, true)
    }

    fn violation(&self, property: &'static str, at: usize) -> Violation {
        let mut actions = Vec::new();
        let mut number = at;
        while let Some((before, action)) = self.from[number] {
            actions.push(action);
            number = before;
        }
        actions.reverse();
        (property, actions, self.worlds[at].clone())
    }

    /// A world from which no steps but faults lead to the end of all jobs.
    fn stuck(&self) -> Option<usize> {
        let mut ends = vec![false; self.worlds.len()];
        let mut found: VecDeque<usize> =
            (0..self.worlds.len()).filter(|number| self.worlds[*number].is_at_rest()).collect();
        for number in &found {
            ends[*number] = true;
        }
        while let Some(number) = found.pop_front() {
            for before in &self.before[number] {
                if !std::mem::replace(&mut ends[*before], true) {
                    found.push_back(*before);
                }
            }
        }
        ends.iter().position(|ends| !ends)
    }
}

/// Looks at everything that can happen, nearest first, until something is violated or nothing is left.
pub fn check(sharing: &Sharing) -> Outcome {
    let mut seen = Seen::default();
    seen.add(World::new(&sharing.bounds), None);
    let mut next = 0;
    while next < seen.worlds.len() {
        let world = seen.worlds[next].clone();
        for action in steps::enabled(sharing, &world) {
            let after = steps::after(sharing, &world, action);
            let broken = properties::broken(&world, &after);
            let (number, _) = seen.add(after, Some((next, action)));
            if let Some(property) = broken {
                return Outcome {
                    states: seen.worlds.len(),
                    violation: Some(seen.violation(property, number)),
                };
            }
            if !action.is_fault() {
                seen.before[number].push(next);
            }
        }
        next += 1;
    }
    let violation = seen.stuck().map(|number| seen.violation(properties::EVERYBODY_ENDS, number));
    Outcome { states: seen.worlds.len(), violation }
}
