//! One job in each situation.

use chrono::TimeDelta;
use serde_json::json;

use super::*;
use crate::access::AllowedVehicles;
use crate::id::{JobId, Tenant};
use crate::job::{Failure, Priority, Progress};
use crate::request::ExportRequest;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
const IDLE: WorkerSummary =
    WorkerSummary { alive: 2, without_storage: 0, slots: 4, running: 1, last_seen_at: Some(NOW) };

fn waiting_job() -> Job {
    let request = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    Job {
        id: JobId::new(uuid::Uuid::nil()),
        tenant: Tenant::default_tenant(),
        created_by: None,
        request: ExportRequest::parse(&request).expect("a request"),
        allowed_vehicles: AllowedVehicles::All,
        priority: Priority::Interactive,
        state: JobState::NotStarted,
        epoch: 0,
        attempts: 0,
        max_attempts: 5,
        owner: None,
        heartbeat_at: None,
        run_after: NOW,
        published_at: Some(NOW),
        outage_since: None,
        cancel_requested: false,
        progress: Progress::default(),
        result: None,
        failure: None,
        created_at: NOW,
        started_at: None,
        finished_at: None,
        expires_at: None,
        share_key: None,
        result_id: None,
        made_at: None,
        checked_at: None,
        waiting_for: None,
        first_warnings: crate::warnings::Warnings::default(),
        trace_parent: None,
    }
}

#[test]
fn the_most_particular_reason_is_given() {
    let job = waiting_job();
    let is = |job: &Job, workers| waiting_for(job, NOW, Some(&workers));
    assert_eq!(is(&job, IDLE), Some(WaitingFor::Delivery));
    assert_eq!(is(&job, WorkerSummary { running: 4, ..IDLE }), Some(WaitingFor::Place));
    assert_eq!(is(&job, WorkerSummary { without_storage: 2, ..IDLE }), Some(WaitingFor::Storage));
    assert_eq!(is(&job, WorkerSummary { without_storage: 1, ..IDLE }), Some(WaitingFor::Delivery));
    let none = WorkerSummary { alive: 0, slots: 0, running: 0, ..IDLE };
    assert_eq!(is(&job, none), Some(WaitingFor::Worker));
    let unpublished = Job { published_at: None, ..job.clone() };
    assert_eq!(is(&unpublished, IDLE), Some(WaitingFor::Turn));
    assert_eq!(is(&unpublished, none), Some(WaitingFor::Worker));
    let later = Job { run_after: NOW + TimeDelta::milliseconds(1), ..job.clone() };
    assert_eq!(is(&later, none), Some(WaitingFor::Worker), "a new job, by a clock that is ahead");
    let failure = Some(Failure { code: "stalled".to_owned(), message: String::new() });
    let later = Job { failure, ..later };
    assert_eq!(is(&later, none), Some(WaitingFor::Retry));
    let same = Job { waiting_for: Some(WaitingFor::SameExport), ..later };
    assert_eq!(is(&same, none), Some(WaitingFor::SameExport));
}

#[test]
fn only_a_waiting_job_has_a_reason() {
    for state in JobState::ALL {
        let job = Job { state, waiting_for: None, ..waiting_job() };
        assert_eq!(waiting_for(&job, NOW, Some(&IDLE)).is_some(), state == JobState::NotStarted);
    }
}

#[test]
fn without_knowledge_of_workers_only_the_job_counts() {
    assert_eq!(waiting_for(&waiting_job(), NOW, None), Some(WaitingFor::Delivery));
    let unpublished = Job { published_at: None, ..waiting_job() };
    assert_eq!(waiting_for(&unpublished, NOW, None), Some(WaitingFor::Turn));
}
