//! What every rule has in common, and the life of one job by the rules.

use super::*;

#[test]
fn every_transition_says_where_it_starts_and_only_expiry_leaves_an_ended_state() {
    for transition in Transition::ALL {
        let from = transition.rule().from();
        let ends = from.is_some_and(|state| !state.is_active());
        // Whoever leads may have to give way, whatever its state.
        assert_eq!(from.is_none(), transition == Transition::GiveWay, "{transition:?}");
        assert_eq!(ends, transition == Transition::Expire, "{transition:?}");
        assert!(from.is_none() || from != transition.rule().to(), "{transition:?}");
    }
}

#[test]
fn whatever_a_worker_does_to_its_job_is_fenced() {
    for transition in Transition::ALL {
        let rule = transition.rule();
        let is_worker = matches!(
            transition,
            Transition::Heartbeat
                | Transition::Commit
                | Transition::Release
                | Transition::HandOver
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
        if rule.from() == Some(Started) && rule.to().is_some() {
            assert!(rule.then.contains(&E::DropLease), "{transition:?}");
            assert!(rule.then.contains(&E::DropOwnership), "{transition:?}");
        }
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
        let ended: Vec<_> = transition.rule().to().into_iter().filter(|state| !state.is_active()).collect();
        assert_eq!(announced, ended, "{transition:?}");
    }
}

#[test]
fn a_claim_starts_an_attempt_and_a_commit_ends_it() {
    let mut job: Record<&str> = Record::new(2, 100);
    let mut input = Input {
        now_ms: 99,
        epoch: 0,
        owner: "worker",
        result: "uri",
        error: "",
        lease_ms: 30,
        back_off_ms: 0,
        retention_ms: 1_000,
        leader: "",
        next_leader: "",
        shared_until_ms: None,
    };
    assert!(!CLAIM.apply(&mut job, &input), "not due yet");
    input.now_ms = 100;
    assert!(CLAIM.apply(&mut job, &input));
    assert_eq!((job.state, job.epoch, job.attempts, job.lease_until_ms), (Started, 1, 1, Some(130)));
    assert!(!COMMIT.apply(&mut job, &input), "the fence is of epoch 0");
    input.epoch = 1;
    assert!(COMMIT.apply(&mut job, &input));
    assert_eq!((job.state, job.result, job.expires_at_ms), (Finished, Some("uri"), Some(1_100)));
    assert!(!REQUEST_CANCEL.apply(&mut job, &input), "it has ended");
    input.now_ms = 1_100;
    assert!(EXPIRE.apply(&mut job, &input));
    assert_eq!(job.announced.events().collect::<Vec<_>>(), [EventKind::Finished, EventKind::Expired]);
}

#[test]
fn whoever_ends_without_a_result_leads_no_longer() {
    for transition in Transition::ALL {
        let rule = transition.rule();
        // What follows another does not lead: adopting a failure ends no leader.
        let ends_badly = matches!(rule.to(), Some(Failed | Cancelled | Expired));
        let may_lead = ends_badly && transition != Transition::AdoptFailure;
        let stops = rule.then.contains(&E::StopLeading);
        assert_eq!(stops, may_lead || transition == Transition::GiveWay, "{transition:?}");
    }
}

#[test]
fn whatever_happens_to_a_follower_through_its_leader_is_fenced_by_that_leader() {
    use Transition::{Adopt, AdoptFailure, FollowNext, StandAlone};
    for transition in Transition::ALL {
        let is_through_leader = matches!(transition, Adopt | AdoptFailure | StandAlone | FollowNext);
        assert_eq!(transition.rule().when.contains(&C::Follows), is_through_leader, "{transition:?}");
    }
}

#[test]
fn a_follower_is_not_claimed_and_gets_what_its_leader_got() {
    let mut input = Input {
        now_ms: 100,
        epoch: 0,
        owner: "worker",
        result: "uri",
        error: "",
        lease_ms: 30,
        back_off_ms: 0,
        retention_ms: 1_000,
        leader: "first",
        next_leader: "second",
        shared_until_ms: Some(500),
    };
    let mut job: Record<&str> = Record { follows: Some("first"), ..Record::new(2, 100) };
    assert!(!CLAIM.apply(&mut job, &input));
    assert!(FOLLOW_NEXT.apply(&mut job, &input));
    assert!(!ADOPT.apply(&mut job, &input), "it follows another by now");
    input.leader = "second";
    input.now_ms = 500;
    assert!(!ADOPT.apply(&mut job, &input), "the result's time is over");
    input.now_ms = 499;
    assert!(ADOPT.apply(&mut job, &input));
    assert_eq!((job.state, job.result, job.expires_at_ms), (Finished, Some("uri"), Some(500)));
    assert_eq!((job.epoch, job.attempts, job.follows), (0, 0, Some("second")));
}
