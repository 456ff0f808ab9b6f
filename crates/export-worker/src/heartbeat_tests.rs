//! Timing of the heartbeat. What a worker does with its outcome is tested with the attempt.

use std::future::{pending, ready};

use super::*;

#[tokio::test(start_paused = true)]
async fn an_answer_counts_even_if_the_other_one_is_late() {
    let limit = Duration::from_secs(5);
    assert_eq!(both_within(limit, ready("job"), pending::<()>()).await, (Some("job"), None));
    assert_eq!(both_within(limit, pending::<()>(), ready("slot")).await, (None, Some("slot")));
}

#[tokio::test(start_paused = true)]
async fn a_lease_counts_as_lost_before_it_ends() {
    let lease = LeaseTimer::begin(Duration::from_secs(30), Instant::now());
    assert_eq!(lease.left(), Some(Duration::from_secs(25)));
    tokio::time::advance(Duration::from_secs(24)).await;
    assert_eq!(lease.left(), Some(Duration::from_secs(1)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(lease.left(), None);
}

#[tokio::test(start_paused = true)]
async fn any_progress_restarts_the_stall_timer() {
    let mut movement = Movement::begin();
    let progress = |rows, eta_seconds| Progress { rows, eta_seconds, ..Progress::default() };
    tokio::time::advance(STALL).await;
    assert!(!movement.is_stalled(&progress(1, None), 0));
    tokio::time::advance(STALL).await;
    assert!(!movement.is_stalled(&progress(1, Some(7)), 0));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(movement.is_stalled(&progress(1, Some(6)), 0), "a remaining time is no progress");
    assert!(!movement.is_stalled(&progress(2, Some(6)), 0));
}

#[test]
fn the_remaining_time_follows_from_the_average_speed() {
    let minute = Duration::from_mins(1);
    assert_eq!(eta_seconds(0.0, minute), None);
    assert_eq!(eta_seconds(0.009, minute), None);
    assert_eq!(eta_seconds(0.25, minute), Some(180));
    assert_eq!(eta_seconds(1.0, minute), Some(0));
}
