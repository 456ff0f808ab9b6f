//! The protocol with a part missing, and the invariant that no longer holds.
//!
//! A mutant without a violation would mean that the part is not needed, or that the model does not
//! see its purpose.

use export_core::event::EventKind;
use export_core::job::JobState::{NotStarted, Started};
use export_core::rules::{Condition, Effect, Transition};

use crate::properties as p;
use crate::protocol::{Bounds, Departure, Protocol, Rules};

/// The protocol with a part missing.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The missing part.
    pub name: &'static str,
    /// The protocol without it.
    pub protocol: Protocol,
    /// The invariant that no longer holds.
    pub breaks: &'static str,
}

/// Changes to the rules.
pub fn of_rules() -> Vec<Mutant> {
    use Transition as T;
    let real = Rules::default;
    let mutant = |name, breaks, bounds, rules| {
        let protocol = Protocol { rules, ..Protocol::new(bounds) };
        Mutant { name, protocol, breaks }
    };
    let usual = |name, breaks, rules| mutant(name, breaks, Bounds::USUAL, rules);
    let reliable = |name, breaks, rules| mutant(name, breaks, Bounds::RELIABLE_BROKER, rules);
    vec![
        usual(
            "no fence",
            p::COMMIT_IS_CURRENT,
            real().without(T::Commit, Condition::SameEpoch).without(T::Commit, Condition::SameOwner),
        ),
        mutant(
            "no epoch in the fence, two deliveries per worker",
            p::COMMIT_IS_CURRENT,
            Bounds::ONE_PROCESS,
            real().without(T::Commit, Condition::SameEpoch),
        ),
        usual(
            "the epoch does not grow",
            p::RESULT_IS_WHOLE,
            real().without_effect(T::Claim, Effect::NextEpoch),
        ),
        usual("a claim takes any job", p::ENDED_STAYS, real().without(T::Claim, Condition::In(NotStarted))),
        usual("a claim gives no lease", p::NEVER_STUCK, real().without_effect(T::Claim, Effect::Lease)),
        usual(
            "attempts are not counted",
            p::ATTEMPTS_BOUNDED,
            real().without_effect(T::Claim, Effect::CountAttempt),
        ),
        usual(
            "a hand-over counts as an attempt",
            p::ATTEMPTS_COUNTED,
            real().without_effect(T::HandOver, Effect::UncountAttempt),
        ),
        usual(
            "a commit ignores the cancel",
            p::CANCEL_HOLDS,
            real().without(T::Commit, Condition::NotCancelRequested),
        ),
        usual(
            "a commit sets no result",
            p::FINISHED_HAS_RESULT,
            real().without_effect(T::Commit, Effect::SetResult),
        ),
        usual(
            "a late cancel wins",
            p::ENDED_STAYS,
            real().without(T::CancelWaiting, Condition::In(NotStarted)),
        ),
        usual(
            "a late cancel is accepted",
            p::CANCEL_HOLDS,
            real().without(T::RequestCancel, Condition::In(Started)),
        ),
        usual(
            "an expired job keeps its result",
            p::FINISHED_HAS_RESULT,
            real().without_effect(T::Expire, Effect::DropResult),
        ),
        usual(
            "a living worker loses its job",
            p::FAULTS_ONLY,
            real().without(T::ReleaseLost, Condition::LeaseExpired),
        ),
        usual(
            "a lost job is tried for ever",
            p::ATTEMPTS_BOUNDED,
            real().without(T::ReleaseLost, Condition::AttemptsLeft),
        ),
        usual(
            "the cancel of a lost job is forgotten",
            p::CANCEL_HOLDS,
            real().without(T::ReleaseLost, Condition::NotCancelRequested),
        ),
        mutant(
            "lost workers are not counted",
            p::RUNS_ALONE,
            Bounds::THREE_ATTEMPTS,
            real().without_effect(T::ReleaseLost, Effect::CountLostWorker),
        ),
        usual("a lost job is not released", p::NEVER_STUCK, real().without_rule(T::ReleaseLost)),
        usual("a lost job does not fail", p::NEVER_STUCK, real().without_rule(T::FailLost)),
        usual("a lost job is not cancelled", p::NEVER_STUCK, real().without_rule(T::CancelLost)),
        reliable(
            "a lost job counts as published",
            p::NEVER_STUCK,
            real().without_effect(T::ReleaseLost, Effect::ForgetPublished),
        ),
        reliable(
            "a late mark counts for a later wait",
            p::NEVER_STUCK,
            real().without(T::MarkPublished, Condition::SameEpoch),
        ),
    ]
}

/// Changes to the rule of outages.
pub fn of_outages() -> Vec<Mutant> {
    use Transition as T;
    let real = Rules::default;
    let mutant = |name, breaks, bounds, rules| {
        let protocol = Protocol { rules, ..Protocol::new(bounds) };
        Mutant { name, protocol, breaks }
    };
    vec![
        mutant(
            "an outage counts as an attempt",
            p::ATTEMPTS_COUNTED,
            Bounds::OUTAGES,
            real().without_effect(T::Postpone, Effect::UncountAttempt),
        ),
        mutant(
            "an outage postpones for ever",
            p::OUTAGES_END,
            Bounds::OUTAGES,
            real().without(T::Postpone, Condition::PatienceLeft),
        ),
        mutant(
            "the beginning of an outage is not noted",
            p::OUTAGES_END,
            Bounds::OUTAGES,
            real().without_effect(T::Postpone, Effect::NoteOutage),
        ),
        mutant(
            "an outage lasts until the job ends",
            p::OUTAGES_END,
            Bounds::OUTAGES,
            real().without_effect(T::Release, Effect::EndOutage),
        ),
        mutant(
            "a cancel during an outage is forgotten",
            p::CANCEL_HOLDS,
            Bounds::OUTAGES,
            real().without(T::Postpone, Condition::NotCancelRequested),
        ),
        mutant(
            "a postponed job counts as published",
            p::NEVER_STUCK,
            Bounds { broker_loses: false, ..Bounds::OUTAGES },
            real().without_effect(T::Postpone, Effect::ForgetPublished),
        ),
    ]
}

/// Ends without an announcement.
pub fn of_announcements() -> Vec<Mutant> {
    use Transition as T;
    let silent = |name, transition, kind| {
        let rules = Rules::default().without_effect(transition, Effect::Announce(kind));
        let protocol = Protocol { rules, ..Protocol::new(Bounds::USUAL) };
        Mutant { name, protocol, breaks: p::ENDS_ARE_ANNOUNCED }
    };
    vec![
        silent("a commit announces nothing", T::Commit, EventKind::Finished),
        silent("a failure announces nothing", T::Fail, EventKind::Failed),
        silent("a cancel announces nothing", T::CancelWaiting, EventKind::Cancelled),
        silent("an expiry announces nothing", T::Expire, EventKind::Expired),
    ]
}

/// Steps that are missing or wrong.
pub fn of_steps() -> Vec<Mutant> {
    use Departure as D;
    let mutant = |name, breaks, bounds, departures: &[Departure]| {
        let protocol = Protocol { departures: departures.to_vec(), ..Protocol::new(bounds) };
        Mutant { name, protocol, breaks }
    };
    let usual = |name, breaks, departures| mutant(name, breaks, Bounds::USUAL, departures);
    let reliable = |name, breaks, departures| mutant(name, breaks, Bounds::RELIABLE_BROKER, departures);
    vec![
        usual("202 before the job is stored", p::ACCEPTED_IS_STORED, &[D::AnswerBeforeInsert]),
        usual("no dispatcher", p::NEVER_STUCK, &[D::NoDispatching]),
        usual("no message is published again", p::NEVER_STUCK, &[D::NoRepublishing]),
        usual("no sweeper of leases", p::NEVER_STUCK, &[D::NoLeaseScan]),
        usual(
            "ack at the claim, no sweeper",
            p::NOT_FORGOTTEN,
            &[D::AckAtClaim, D::NoLeaseScan, D::NoRepublishing],
        ),
        usual("no queue-age limit, a broker that loses", p::NEVER_STUCK, &[D::NoQueueAgeLimit]),
        usual("one key for all attempts", p::RESULT_IS_WHOLE, &[D::SharedKey]),
        usual("one key for all attempts, overwritten", p::RESULT_IS_WHOLE, &[D::SharedKey, D::Overwrite]),
        usual("objects are not create-only", p::WRITTEN_ONCE, &[D::Overwrite]),
        usual("a lost answer counts as success", p::RESULT_IS_WHOLE, &[D::SilenceIsSuccess]),
        usual("check the fence, then commit", p::COMMIT_IS_CURRENT, &[D::CheckThenCommit]),
        reliable("marked as published before it is", p::NEVER_STUCK, &[D::MarkBeforePublish]),
        reliable("marked as published without a confirm", p::NEVER_STUCK, &[D::MarkUnconfirmed]),
        // A message may be delivered before its job is marked as published.
        reliable("a message that came before its mark is acked", p::NEVER_STUCK, &[D::AckUnpublished]),
        reliable("nacked messages do not return", p::NEVER_STUCK, &[D::NackDrops]),
    ]
}

/// Parts that could be left out without harm: they make jobs faster or errors visible, but no
/// invariant needs them.
pub fn harmless() -> Vec<(&'static str, Protocol)> {
    let departs = |departure| Protocol { departures: vec![departure], ..Protocol::new(Bounds::USUAL) };
    vec![
        // The sweeper finds the ended lease. Acking after the commit lets another worker take over
        // sooner.
        ("ack at the claim, with a sweeper", departs(Departure::AckAtClaim)),
        // Only jobs that are due are published, and every change that makes a job wait removes the
        // mark, so the dispatcher publishes it when it is due. The service nacks a marked job that
        // is not due only in case a clock went back.
        ("ack of every job that waits and could not be claimed", departs(Departure::AckNotDue)),
        (
            "ack of every job that waits and could not be claimed, without a queue-age limit",
            Protocol { bounds: Bounds::RELIABLE_BROKER, ..departs(Departure::AckNotDue) },
        ),
        // The message returns until the job is due, beside the dispatcher's message.
        ("nack of a job that is not due", departs(Departure::NackNotDue)),
        // The queue-age limit publishes a message again that did not return.
        ("nacked messages do not return, with a queue-age limit", departs(Departure::NackDrops)),
    ]
}
