//! What the rules of results have in common, and the life of one result by the rules.

use ResultState::{Expired, Finished, Writing};
use ResultTransition::{Begin, Check, Compare, Expire, Finish, Remove, Retire, Share};
use export_core::rules::result::ResultTransition;

use super::*;

fn input(epoch: i64) -> ResultInput<&'static str> {
    ResultInput {
        now_ms: 100,
        epoch,
        owner: "worker",
        uri: "uri",
        retention_ms: 1_000,
        least_lifetime_ms: 10,
        fresh_since_ms: None,
        created_at_ms: 99,
        looked_at_ms: 150,
        has_share_key: true,
    }
}

#[test]
fn what_a_worker_does_to_its_result_is_fenced_by_the_epoch() {
    for transition in ResultTransition::ALL {
        let when = transition.rule().when;
        let is_fenced = when.contains(&C::SameEpoch) || when.contains(&C::EarlierClaim);
        assert_eq!(is_fenced, !matches!(transition, Expire | Compare | Share), "{transition:?}");
    }
}

#[test]
fn only_a_finished_result_is_current() {
    for transition in ResultTransition::ALL {
        let then = transition.rule().then;
        let finishes = then.contains(&E::Enter(Finished));
        assert_eq!(then.contains(&E::MakeCurrent), finishes, "{transition:?}");
        let enters_other = then.iter().any(|effect| matches!(effect, E::Enter(Writing | Expired)));
        assert!(!enters_other || then.contains(&E::DropCurrent), "{transition:?}");
    }
}

#[test]
fn a_result_is_begun_finished_shared_and_expired() {
    let (mut stored, mut now) = (None, input(1));
    assert!(Begin.rule().apply(&mut stored, &now));
    assert!(!Begin.rule().apply(&mut stored, &now), "the same claim has begun it");
    assert!(Begin.rule().apply(&mut stored, &input(2)), "a later claim begins anew");
    assert!(!Finish.rule().apply(&mut stored, &now), "the fence is of the earlier claim");
    assert!(Finish.rule().apply(&mut stored, &input(2)));
    assert!(!Begin.rule().apply(&mut stored, &input(3)), "a finished result stays");
    assert!(!Remove.rule().apply(&mut stored, &input(2)), "a finished result stays");
    let result = stored.as_ref().expect("a result");
    assert_eq!((result.state, result.uri, result.expires_at_ms), (Finished, Some("uri"), Some(1_100)));
    assert!(Share.rule().holds(stored.as_ref(), &now));
    now.created_at_ms = 100;
    assert!(!Share.rule().holds(stored.as_ref(), &now), "not checked since the job was created");
    assert!(Compare.rule().holds(stored.as_ref(), &now), "it may be, after a look");
    assert!(Check.rule().apply(&mut stored, &input(2)));
    assert!(Share.rule().holds(stored.as_ref(), &now));
    now.created_at_ms = 150;
    assert!(!Share.rule().holds(stored.as_ref(), &now), "the look began before the job was created");
    now.created_at_ms = 99;
    now.fresh_since_ms = Some(100);
    assert!(
        !Share.rule().holds(stored.as_ref(), &now),
        "begun before the job was created, or at the same time"
    );
    now.fresh_since_ms = Some(99);
    assert!(Share.rule().holds(stored.as_ref(), &now));
    now.now_ms = 1_090;
    assert!(!Share.rule().holds(stored.as_ref(), &now), "too little of its lifetime is left");
    assert!(!Expire.rule().apply(&mut stored, &now));
    now.now_ms = 1_100;
    assert!(Expire.rule().apply(&mut stored, &now));
    let result = stored.as_ref().expect("a result");
    assert_eq!((result.state, result.uri, result.is_current), (Expired, None, false));
    assert!(Begin.rule().apply(&mut stored, &input(3)), "its job is worked on again");
    assert_eq!(stored.as_ref().and_then(|result| result.expires_at_ms), None);
    assert!(Remove.rule().apply(&mut stored, &input(3)));
    assert_eq!(stored, None);
}

#[test]
fn a_result_makes_way_for_the_next() {
    let mut stored = None;
    Begin.rule().apply(&mut stored, &input(1));
    assert!(!Retire.rule().apply(&mut stored, &input(1)), "it is not current");
    Finish.rule().apply(&mut stored, &input(1));
    assert!(!Retire.rule().apply(&mut stored, &input(2)), "the caller has seen another");
    assert!(Retire.rule().apply(&mut stored, &input(1)));
    assert!(!Share.rule().holds(stored.as_ref(), &input(1)));
    assert_eq!(stored.map(|result| (result.state, result.uri)), Some((Finished, Some("uri"))));
}

#[test]
fn a_result_without_a_share_key_is_never_current() {
    let mut stored = None;
    let alone = ResultInput { has_share_key: false, ..input(1) };
    Begin.rule().apply(&mut stored, &alone);
    Finish.rule().apply(&mut stored, &alone);
    assert!(!Share.rule().holds(stored.as_ref(), &alone));
}
