//! The audit log: every entry that was reported as written is stored, once.

use bson::{Document, doc};
use chrono::DateTime;
use export_store::{AuditAction, AuditEntry, AuditError, AuditLog, connect};
use export_testkit::isolation::TestSpace;
use export_testkit::services::UNREACHABLE_MONGODB_URI;
use mongodb::Collection;
use tokio::task::JoinSet;

use crate::store::{client, new_id};

fn entry(number: usize) -> AuditEntry {
    AuditEntry {
        at: DateTime::from_timestamp_millis(1_543_536_000_123).expect("a time"),
        tenant: "acme".parse().expect("a tenant"),
        principal: format!("caller-{number}"),
        action: AuditAction::ExportDownload,
        job_id: Some(new_id()),
        object: Some("vehicle_001.csv.gz".to_owned()),
        key_id: None,
        request_id: Some("request-7".to_owned()),
        remote_address: Some("192.0.2.7".to_owned()),
        outcome: "given",
    }
}

fn stored(space: &TestSpace) -> Collection<Document> {
    space.mongodb.database(&space.jobs_database).collection("audit")
}

#[tokio::test]
async fn an_entry_has_caller_action_and_outcome() {
    let space = TestSpace::create().await;
    let log = AuditLog::start(&client(&space).await, &space.jobs_database);
    let entry = entry(1);
    log.write(&entry).await.expect("written");
    let mut found = stored(&space).find_one(doc! {}).await.expect("an answer").expect("an entry");
    found.remove("_id");
    let job_id = entry.job_id.map(|id| id.to_string());
    assert_eq!(
        found,
        doc! {
            "at": bson::DateTime::from_millis(1_543_536_000_123), "tenant": "acme", "principal": "caller-1",
            "action": "export.download", "jobId": job_id, "object": "vehicle_001.csv.gz", "keyId": null,
            "requestId": "request-7", "remoteAddress": "192.0.2.7", "outcome": "given",
        }
    );
    assert!(entry.to_string().contains("caller-1"), "the log gets all of it: {entry}");
    space.cleanup().await;
}

/// Far more concurrent entries than one insert takes.
#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_all_there_and_once() {
    const ENTRIES: usize = 2_000;
    let space = TestSpace::create().await;
    let log = AuditLog::start(&client(&space).await, &space.jobs_database);
    let mut writing = JoinSet::new();
    for number in 0..ENTRIES {
        let log = log.clone();
        writing.spawn(async move { log.write(&entry(number)).await.expect("written") });
    }
    assert_eq!(writing.join_all().await.len(), ENTRIES);
    let names = stored(&space).distinct("principal", doc! {}).await.expect("names");
    assert_eq!(names.len(), ENTRIES);
    assert_eq!(stored(&space).count_documents(doc! {}).await.expect("a count"), 2_000);
    space.cleanup().await;
}

/// A full queue is reported to the caller, and the queue is bounded.
#[tokio::test]
async fn without_a_server_nothing_is_said_to_be_written() {
    let client = connect(&UNREACHABLE_MONGODB_URI.into(), "audit tests").await;
    let client = client.expect("connecting does not wait for the server");
    let log = AuditLog::start(&client, "exports");
    let mut writing = JoinSet::new();
    for number in 0..6_000 {
        let log = log.clone();
        writing.spawn(async move { log.write(&entry(number)).await.expect_err("there is no server") });
    }
    // The first errors are those of entries for which the queue had no room; the others follow as
    // their inserts fail.
    let mut full = 0;
    while let Some(error) = writing.join_next().await {
        match error.expect("no panic") {
            AuditError::Full => full += 1,
            AuditError::NotWritten(_) => break,
            error @ AuditError::Closed => panic!("{error:?}"),
        }
    }
    assert!(full >= 1_000, "{full}");
}
