//! What all rules have in common, and the life of one job by the rules.

use JobState::{Finished, NotStarted, Started};
use export_core::rules::Transition;

use super::*;

fn input(now_ms: i64, epoch: i64) -> Input<&'static str> {
    Input {
        now_ms,
        epoch,
        owner: "worker",
        is_alone: false,
        result: "uri",
        expires_at_ms: Some(1_100),
        error: "",
        lease_ms: 30,
        back_off_ms: 0,
        wait_ms: 10,
        patience_ms: 500,
    }
}

/// The state that the job must be in.
fn from_state(rule: &Rule) -> Option<JobState> {
    rule.when.iter().find_map(|condition| match condition {
        C::In(state) => Some(*state),
        _ => None,
    })
}

/// The state that the job enters, if it changes its state.
fn to_state(rule: &Rule) -> Option<JobState> {
    rule.then.iter().find_map(|effect| match effect {
        E::Enter(state) => Some(*state),
        _ => None,
    })
}

#[test]
fn every_transition_has_a_start_state_and_only_expiry_leaves_an_end_state() {
    for transition in Transition::ALL {
        let from = from_state(transition.rule()).expect("a state");
        assert_eq!(!from.is_active(), transition == Transition::Expire, "{transition:?}");
        assert_ne!(Some(from), to_state(transition.rule()), "{transition:?}");
    }
}

#[test]
fn every_change_by_a_worker_is_fenced() {
    for transition in Transition::ALL {
        let rule = transition.rule();
        let is_worker = matches!(
            transition,
            Transition::Heartbeat
                | Transition::Commit
                | Transition::Release
                | Transition::Postpone
                | Transition::HandOver
                | Transition::WaitForResult
                | Transition::Fail
                | Transition::CancelRunning
        );
        let is_fenced = rule.when.contains(&C::SameEpoch) && rule.when.contains(&C::SameOwner);
        assert_eq!(is_worker, is_fenced, "{transition:?}");
    }
}

#[test]
fn a_job_that_is_not_running_has_no_lease_and_no_owner() {
    for transition in Transition::ALL {
        let rule = transition.rule();
        if from_state(rule) == Some(Started) && to_state(rule).is_some() {
            assert!(rule.then.contains(&E::DropLease), "{transition:?}");
            assert!(rule.then.contains(&E::DropOwnership), "{transition:?}");
        }
    }
}

#[test]
fn a_job_given_back_has_to_be_published_again() {
    for transition in Transition::ALL {
        let rule = transition.rule();
        let is_given_back = to_state(rule) == Some(NotStarted);
        assert_eq!(rule.then.contains(&E::ForgetPublished), is_given_back, "{transition:?}");
    }
}

#[test]
fn only_a_job_that_is_not_started_waits_for_a_result() {
    for transition in Transition::ALL {
        let rule = transition.rule();
        let starts = transition == Transition::WaitForResult;
        assert_eq!(rule.then.contains(&E::StartWaiting), starts, "{transition:?}");
        let leaves = from_state(rule) == Some(NotStarted) && to_state(rule).is_some();
        assert_eq!(rule.then.contains(&E::StopWaiting), leaves, "{transition:?}");
    }
}

#[test]
fn exactly_the_changes_that_end_a_job_or_its_result_announce_it() {
    for transition in Transition::ALL {
        let announced: Vec<_> = transition
            .rule()
            .then
            .iter()
            .filter_map(|effect| match effect {
                E::Announce(kind) => Some(kind.state()),
                _ => None,
            })
            .collect();
        let ended: Vec<_> =
            to_state(transition.rule()).into_iter().filter(|state| !state.is_active()).collect();
        assert_eq!(announced, ended, "{transition:?}");
    }
}

#[test]
fn a_claim_starts_an_attempt_and_a_commit_ends_it() {
    let mut job: Record<&str> = Record::new(2, 100);
    assert!(!Transition::Claim.rule().apply(&mut job, &input(99, 0)), "not due yet");
    assert!(Transition::Claim.rule().apply(&mut job, &input(100, 0)));
    assert_eq!((job.state, job.epoch, job.attempts, job.lease_until_ms), (Started, 1, 1, Some(130)));
    assert!(!Transition::Commit.rule().apply(&mut job, &input(100, 0)), "the fence is of epoch 0");
    assert!(!Transition::Commit.rule().apply(&mut job, &input(1_100, 1)), "the result has expired");
    assert!(Transition::Commit.rule().apply(&mut job, &input(100, 1)));
    assert_eq!((job.state, job.result, job.expires_at_ms), (Finished, Some("uri"), Some(1_100)));
    assert!(!Transition::RequestCancel.rule().apply(&mut job, &input(100, 1)), "it has ended");
    assert!(Transition::Expire.rule().apply(&mut job, &input(1_100, 1)));
    assert_eq!(job.announced.events().collect::<Vec<_>>(), [EventKind::Finished, EventKind::Expired]);
}

#[test]
fn a_wait_costs_no_attempt() {
    let mut job: Record<&str> = Record::new(1, 100);
    assert!(Transition::Claim.rule().apply(&mut job, &input(100, 0)));
    assert!(Transition::WaitForResult.rule().apply(&mut job, &input(100, 1)));
    assert_eq!((job.state, job.attempts, job.run_after_ms), (NotStarted, 0, 110));
    assert!(job.is_waiting);
    assert!(!Transition::Claim.rule().apply(&mut job, &input(109, 1)), "not due yet");
    assert!(Transition::Claim.rule().apply(&mut job, &input(110, 1)));
    assert_eq!((job.epoch, job.attempts, job.is_waiting), (2, 1, false));
}
