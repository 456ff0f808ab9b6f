//! What is checked: the rules, the steps and the bounds.

use export_core::job::JobState;
use export_core::rules::{Condition, Effect, Input, Record, Rule, Transition};

use crate::world::{KEYS, World};

/// The protocol as the services follow it, or a mutant of it.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The rules of the job store.
    pub rules: Rules,
    /// Steps that are not as they should be.
    pub departures: Vec<Departure>,
    /// How much may happen.
    pub bounds: Bounds,
}

/// How much may happen in a run.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether one thing exists, and any combination makes sense"
)]
pub struct Bounds {
    /// Faults of any kind, together.
    pub faults: u8,
    /// Attempts that the job may have.
    pub max_attempts: u32,
    /// Whether the first copy of the API, having created the job, dispatches and sweeps beside the second.
    pub two_sweepers: bool,
    /// Whether the client may cancel.
    pub cancel: bool,
    /// Whether both workers are one process that takes two deliveries at a time.
    pub one_process: bool,
    /// Whether the broker may lose messages that it has confirmed; the sweeper then publishes old jobs again.
    pub broker_loses: bool,
}

/// One step that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Nobody looks for leases that ran out.
    NoLeaseScan,
    /// Nobody dispatches: accepted jobs are never published.
    NoDispatching,
    /// Nobody publishes again a job that a worker has had, or that was published long ago.
    NoRepublishing,
    /// The sweeper trusts `publishedAt`, however old, although the broker may lose messages.
    NoQueueAgeLimit,
    /// All attempts write to one key.
    SharedKey,
    /// Parts are written whether or not there is one.
    Overwrite,
    /// No answer to the last part is taken for success.
    SilenceIsSuccess,
    /// The delivery is acked as soon as the job is claimed.
    AckAtClaim,
    /// A message is acked when its job could not be claimed although it waits, whether or not it counts as published.
    AckNotDue,
    /// A message is nacked when its job is not due, although the dispatcher will publish another one.
    NackNotDue,
    /// A message is acked when its job waits and does not count as published, due or not.
    AckUnpublished,
    /// The fence is checked first, and the result committed after.
    CheckThenCommit,
    /// The job is marked as published before it is.
    MarkBeforePublish,
    /// The job is marked as published whether or not the broker has confirmed it.
    MarkUnconfirmed,
    /// Nacked messages never return.
    NackDrops,
    /// 202 is answered before the job is inserted.
    AnswerBeforeInsert,
}

impl Bounds {
    /// Any two faults, one dispatcher, two workers, a cancel, and a broker that may lose messages.
    pub const USUAL: Self = Self {
        faults: 2,
        max_attempts: 2,
        two_sweepers: false,
        cancel: true,
        one_process: false,
        broker_loses: true,
    };
    /// Three faults.
    pub const DEEP: Self = Self { faults: 3, ..Self::USUAL };
    /// Two copies of the API dispatch and sweep, and whatever they do meets.
    pub const TWO_SWEEPERS: Self = Self { faults: 1, two_sweepers: true, ..Self::USUAL };
    /// Both workers are one process, by one name.
    pub const ONE_PROCESS: Self = Self { one_process: true, ..Self::USUAL };
    /// A broker that keeps what it confirmed; the sweeper relies on that.
    pub const RELIABLE_BROKER: Self = Self { broker_loses: false, ..Self::USUAL };
    /// Three attempts.
    pub const THREE_ATTEMPTS: Self = Self { max_attempts: 3, ..Self::USUAL };
}

impl Protocol {
    /// The protocol as it is.
    pub fn new(bounds: Bounds) -> Self {
        Self { rules: Rules::default(), departures: Vec::new(), bounds }
    }

    /// Whether this step is not as it should be.
    pub fn departs(&self, departure: Departure) -> bool {
        self.departures.contains(&departure)
    }

    /// Whether the sweeper publishes jobs again that were published long ago.
    pub fn has_queue_age_limit(&self) -> bool {
        self.bounds.broker_loses && !self.departs(Departure::NoQueueAgeLimit)
    }

    /// Whether somebody publishes such a job, sooner or later.
    pub fn publishes(&self, job: &Record<u8>) -> bool {
        let is_first = job.published_at_ms.is_none() && job.epoch == 0;
        let is_seen = job.published_at_ms.is_none() || self.has_queue_age_limit();
        job.state == JobState::NotStarted
            && is_seen
            && (is_first || !self.departs(Departure::NoRepublishing))
            && !self.departs(Departure::NoDispatching)
    }

    /// Whether this world is looked at. Only mutants get out of bounds: those that claim for ever.
    pub fn is_within_bounds(&self, world: &World) -> bool {
        let claims_max = self.bounds.max_attempts + u32::from(self.bounds.faults) + 1;
        u32::from(world.seen.claims) <= claims_max && usize::from(world.seen.claims) < KEYS
    }

    /// A worker's name.
    pub fn owner(&self, worker: usize) -> u8 {
        if self.bounds.one_process || worker == 0 { 1 } else { 2 }
    }

    /// Makes a change, if its rule allows it; whether it did.
    pub fn apply(&self, transition: Transition, job: &mut Record<u8>, input: &Input<u8>) -> bool {
        self.rules.get(transition).apply(job, input)
    }
}

/// The time, always: what waiting brings about happens by actions that set a time before or after it.
pub const NOW_MS: i64 = 0;
/// A time to come.
pub const LATER_MS: i64 = 1;
/// A time gone by.
pub const EARLIER_MS: i64 = -1;

/// What the caller of a change brings along.
pub fn input(epoch: u8, owner: u8, key: u8) -> Input<u8> {
    Input {
        now_ms: NOW_MS,
        epoch: i64::from(epoch),
        owner,
        result: key,
        expires_at_ms: Some(LATER_MS),
        error: 0,
        lease_ms: LATER_MS,
        back_off_ms: LATER_MS,
        wait_ms: LATER_MS,
    }
}

/// The rules by transition: those of [`export_core::rules`], unless a mutant changes them.
#[derive(Clone, Debug)]
pub struct Rules([Rule; Transition::ALL.len()]);

impl Default for Rules {
    fn default() -> Self {
        Self(Transition::ALL.map(|transition| *transition.rule()))
    }
}

impl Rules {
    /// The rule of a transition.
    pub fn get(&self, transition: Transition) -> &Rule {
        &self.0[position(transition)]
    }

    /// Drops a condition.
    #[must_use]
    pub fn without(mut self, transition: Transition, condition: Condition) -> Self {
        let rule = &mut self.0[position(transition)];
        assert!(rule.when.contains(&condition), "{transition:?} has no {condition:?}: the mutant is none");
        rule.when = rule.when.iter().copied().filter(|other| *other != condition).collect::<Vec<_>>().leak();
        self
    }

    /// Drops a whole transition: it never happens.
    #[must_use]
    pub fn without_rule(mut self, transition: Transition) -> Self {
        self.0[position(transition)].when =
            &[Condition::In(JobState::NotStarted), Condition::In(JobState::Started)];
        self
    }

    /// Drops an effect.
    #[must_use]
    pub fn without_effect(mut self, transition: Transition, effect: Effect) -> Self {
        let rule = &mut self.0[position(transition)];
        assert!(rule.then.contains(&effect), "{transition:?} has no {effect:?}: the mutant is none");
        rule.then = rule.then.iter().copied().filter(|other| *other != effect).collect::<Vec<_>>().leak();
        self
    }
}

fn position(transition: Transition) -> usize {
    let position = Transition::ALL.iter().position(|other| *other == transition);
    position.expect("a transition is one of all")
}
