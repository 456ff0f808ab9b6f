//! The input of a check: rules, steps and bounds.

use crate::applied::{ApplyToJob, Input, Record};
use export_core::job::JobState;
use export_core::rules::{Condition, Effect, Rule, Transition};

/// The protocol of the services, or a mutant of it.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The rules of jobs.
    pub rules: Rules,
    /// Steps that differ from the services'.
    pub departures: Vec<Departure>,
    /// How much may happen.
    pub bounds: Bounds,
}

/// How much may happen in a run.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches: every combination is valid")]
pub struct Bounds {
    /// Number of faults of all kinds.
    pub faults: u8,
    /// Number of attempts that outages may stop.
    pub outages: u8,
    /// Most attempts of the job.
    pub max_attempts: u32,
    /// Whether both copies of the API dispatch and sweep.
    pub two_sweepers: bool,
    /// Whether the client may cancel.
    pub cancel: bool,
    /// Whether both workers are one process with two deliveries at a time.
    pub one_process: bool,
    /// Whether the broker may lose confirmed messages; the sweeper then publishes old jobs again.
    pub broker_loses: bool,
}

/// A step that differs from the services'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// No sweeper looks for ended leases.
    NoLeaseScan,
    /// No dispatcher: accepted jobs are never published.
    NoDispatching,
    /// No job is published a second time: neither after a claim nor after a long wait.
    NoRepublishing,
    /// The sweeper trusts `publishedAt` for ever, although the broker may lose messages.
    NoQueueAgeLimit,
    /// All attempts write to one object key.
    SharedKey,
    /// Existing parts are overwritten.
    Overwrite,
    /// A lost answer to the last part is taken for success.
    SilenceIsSuccess,
    /// The delivery is acked as soon as the job is claimed.
    AckAtClaim,
    /// The message of a waiting job that could not be claimed is acked, published or not.
    AckNotDue,
    /// The message of a job that is not due is nacked, although the dispatcher will publish another
    /// one.
    NackNotDue,
    /// The message of a waiting job that does not count as published is acked, due or not.
    AckUnpublished,
    /// The fence is checked first, and the result is committed in a second step.
    CheckThenCommit,
    /// The job is marked as published before it is.
    MarkBeforePublish,
    /// The job is marked as published without a confirm of the broker.
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
        outages: 0,
        max_attempts: 2,
        two_sweepers: false,
        cancel: true,
        one_process: false,
        broker_loses: true,
    };
    /// Three faults.
    pub const DEEP: Self = Self { faults: 3, ..Self::USUAL };
    /// Two copies of the API dispatch and sweep at once.
    pub const TWO_SWEEPERS: Self = Self { faults: 1, two_sweepers: true, ..Self::USUAL };
    /// Both workers are one process with one name.
    pub const ONE_PROCESS: Self = Self { one_process: true, ..Self::USUAL };
    /// A broker that keeps confirmed messages, on which the sweeper relies.
    pub const RELIABLE_BROKER: Self = Self { broker_loses: false, ..Self::USUAL };
    /// An attempt is stopped by an outage, and any one fault happens.
    pub const OUTAGE: Self = Self { faults: 1, outages: 1, ..Self::USUAL };
    /// Two attempts are stopped by outages, and any one fault happens.
    pub const OUTAGES: Self = Self { outages: 2, ..Self::OUTAGE };
    /// Three attempts.
    pub const THREE_ATTEMPTS: Self = Self { max_attempts: 3, ..Self::USUAL };
}

impl Protocol {
    /// The services' rules and steps.
    pub fn new(bounds: Bounds) -> Self {
        Self { rules: Rules::default(), departures: Vec::new(), bounds }
    }

    /// Whether this step differs from the services'.
    pub fn departs(&self, departure: Departure) -> bool {
        self.departures.contains(&departure)
    }

    /// Whether the sweeper publishes jobs again after the queue-age limit.
    pub fn has_queue_age_limit(&self) -> bool {
        self.bounds.broker_loses && !self.departs(Departure::NoQueueAgeLimit)
    }

    /// Whether the dispatcher or the sweeper will publish the job.
    pub fn publishes(&self, job: &Record<u8>) -> bool {
        let is_first = job.published_at_ms.is_none() && job.epoch == 0;
        let is_seen = job.published_at_ms.is_none() || self.has_queue_age_limit();
        job.state == JobState::NotStarted
            && is_seen
            && (is_first || !self.departs(Departure::NoRepublishing))
            && !self.departs(Departure::NoDispatching)
    }

    /// A worker's name.
    pub fn owner(&self, worker: usize) -> u8 {
        if self.bounds.one_process || worker == 0 { 1 } else { 2 }
    }

    /// Makes a change, if its rule allows it; returns whether it did.
    pub fn apply(&self, transition: Transition, job: &mut Record<u8>, input: &Input<u8>) -> bool {
        self.rules.get(transition).apply(job, input)
    }
}

/// The time, which never passes: actions set stored times before or after it instead.
pub const NOW_MS: i64 = 0;
/// A time in the future.
pub const LATER_MS: i64 = 1;
/// A time in the past.
pub const EARLIER_MS: i64 = -1;

/// The values that the caller of a transition provides.
pub fn input(epoch: u8, owner: u8, key: u8) -> Input<u8> {
    Input {
        now_ms: NOW_MS,
        epoch: i64::from(epoch),
        owner,
        is_alone: false,
        result: key,
        expires_at_ms: Some(LATER_MS),
        error: 0,
        lease_ms: LATER_MS,
        back_off_ms: LATER_MS,
        wait_ms: LATER_MS,
        patience_ms: LATER_MS,
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

    /// Removes a condition.
    #[must_use]
    pub fn without(mut self, transition: Transition, condition: Condition) -> Self {
        let rule = &mut self.0[position(transition)];
        assert!(rule.when.contains(&condition), "{transition:?} has no {condition:?}");
        rule.when = rule.when.iter().copied().filter(|other| *other != condition).collect::<Vec<_>>().leak();
        self
    }

    /// Removes a transition: it never happens.
    #[must_use]
    pub fn without_rule(mut self, transition: Transition) -> Self {
        self.0[position(transition)].when =
            &[Condition::In(JobState::NotStarted), Condition::In(JobState::Started)];
        self
    }

    /// Removes an effect.
    #[must_use]
    pub fn without_effect(mut self, transition: Transition, effect: Effect) -> Self {
        let rule = &mut self.0[position(transition)];
        assert!(rule.then.contains(&effect), "{transition:?} has no {effect:?}");
        rule.then = rule.then.iter().copied().filter(|other| *other != effect).collect::<Vec<_>>().leak();
        self
    }
}

fn position(transition: Transition) -> usize {
    let position = Transition::ALL.iter().position(|other| *other == transition);
    position.expect("ALL lists every transition")
}
