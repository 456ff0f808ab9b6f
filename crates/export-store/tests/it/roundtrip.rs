//! Stored values are read back unchanged, whatever they contain.

use bson::{Binary, Bson, Document, doc};
use export_core::access::AllowedVehicles;
use export_core::job::{Failure, JobState, NewJob, Progress};
use export_core::output::OutputOptions;
use export_core::request::ExportRequest;
use export_core::trace::TraceParent;
use export_core::{Tenant, TimeRange};
use export_store::{Created, Held, StoreError};

use crate::store::{LEASE, NO_WAIT, TestStore, failure, new_id, new_job, progress, request, result};

#[tokio::test]
async fn every_field_of_a_request_survives() {
    let store = TestStore::create().await;
    let requests = [
        request(),
        ExportRequest {
            output: OutputOptions::default(),
            webhook_url: Some("https://example.com/$url?key={a:1}".parse().expect("an address")),
            fresh: false,
            label: Some("$label {a: 1} 🚌".parse().expect("a label")),
            retry_of: Some(new_id()),
            // Operators and field paths, which the server would evaluate if they were not literals.
            start_date: "$startDate".to_owned(),
            end_date: "$$NOW – «Ende» 🚌".to_owned(),
            timezone: chrono_tz::Europe::Amsterdam,
            range: TimeRange::new(TimeRange::MIN_MS, TimeRange::MAX_MS).expect("a range"),
            vehicles: Some(vec![
                "vehicle_002".parse().expect("a vehicle"),
                "Bus_ü".parse().expect("a vehicle"),
            ]),
            parameters: Some(
                ["soc", "analyses.estimated_range", "say \"hi\"", "ток", "{ a: 1 }"]
                    .iter()
                    .map(|name| name.parse().expect("a parameter"))
                    .collect(),
            ),
        },
    ];
    for request in requests {
        let tenant = "tenant-7".parse::<Tenant>().expect("a tenant");
        let trace_parent = Some(TraceParent::new(7, 8));
        let allowed_vehicles = AllowedVehicles::Like(vec!["vehicle_*".parse().expect("a pattern")]);
        let created_by = "$createdBy".to_owned();
        let new = NewJob {
            tenant,
            created_by,
            request,
            allowed_vehicles,
            trace_parent,
            priority: export_core::job::Priority::default(),
            max_attempts: 9,
            ..new_job()
        };
        let created = match crate::store::create(&store.jobs, &new).await {
            Created::New(job) => job,
            other => panic!("not created: {other:?}"),
        };
        let read = store.get(new.id).await;
        assert_eq!(read, created);
        assert_eq!((read.id, &read.tenant, &read.request), (new.id, &new.tenant, &new.request));
        assert_eq!(
            (read.created_by.as_ref(), &read.allowed_vehicles),
            (Some(&new.created_by), &new.allowed_vehicles)
        );
        assert_eq!((read.max_attempts, &read.trace_parent), (9, &new.trace_parent));
        assert_eq!((read.state, read.epoch, read.attempts), (JobState::NotStarted, 0, 0));
        assert_eq!(read.progress, Progress::default());
        assert_eq!((read.result, read.failure, read.started_at, read.finished_at), (None, None, None, None));
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn owners_failures_and_results_are_never_interpreted() {
    let store = TestStore::create().await;
    let owner = "$state";
    let (job, fence) = store.claimed(store.job().await, owner).await;
    let document = store.document(job.id).await;
    assert_eq!(document.get_str("owner").expect("a text"), owner);
    assert_eq!(
        store.jobs.heartbeat(&fence, LEASE, &progress(10.0)).await.expect("an answer"),
        Held::Done,
        "the fence holds"
    );

    let strange = Failure { code: "$code".to_owned(), message: "$$ROOT {\"$set\": 1} ü".to_owned() };
    assert_eq!(store.jobs.release(&fence, NO_WAIT, &strange).await.expect("an answer"), Held::Done);
    assert_eq!(store.get(job.id).await.failure, Some(strange.clone()));

    let (_, fence) = store.claimed(job.id, owner).await;
    assert_eq!(store.jobs.fail(&fence, &strange).await.expect("an answer"), Held::Done);
    assert_eq!(store.get(job.id).await.failure, Some(strange));

    let fence = store.claimed_job(owner).await;
    let strange = result("$exportUri");
    assert_eq!(store.commit(&fence, &strange).await, Held::Done);
    let job = store.get(fence.job_id).await;
    assert_eq!((job.result, job.progress), (Some(strange), progress(100.0)));
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_result_takes_the_last_failure_away() {
    let store = TestStore::create().await;
    let fence = store.claimed_job("worker").await;
    assert_eq!(store.jobs.release(&fence, NO_WAIT, &failure()).await.expect("an answer"), Held::Done);
    let (job, fence) = store.claimed(fence.job_id, "worker").await;
    assert_eq!(job.failure, Some(failure()));
    assert_eq!(store.commit(&fence, &result("s3://b/k")).await, Held::Done);
    let job = store.get(job.id).await;
    assert_eq!((job.state, job.failure), (JobState::Finished, None));
    assert!(job.finished_at >= job.started_at && job.started_at >= Some(job.created_at));
    store.space.cleanup().await;
}

#[tokio::test]
async fn dead_letters_are_kept_as_they_came() {
    let store = TestStore::create().await;
    let letters: Collection =
        store.space.mongodb.database(&store.space.jobs_database).collection("deadLetters");
    for body in [&b""[..], b"\xff\x00$body", b"{\"v\":1}"] {
        store.jobs.keep_dead_letter(body.to_vec(), "$reason").await.expect("kept");
        let newest =
            letters.find_one(doc! {}).sort(doc! { "_id": -1 }).await.expect("an answer").expect("a letter");
        let Some(Bson::Binary(Binary { bytes, .. })) = newest.get("body") else {
            panic!("no body: {newest:?}")
        };
        assert_eq!(bytes, body);
        assert_eq!(newest.get_str("reason").expect("a text"), "$reason");
        assert!(newest.get_datetime("receivedAt").is_ok());
    }
    assert_eq!(letters.count_documents(doc! {}).await.expect("a count"), 3);
    store.space.cleanup().await;
}

type Collection = mongodb::Collection<Document>;

#[tokio::test]
async fn a_malformed_job_document_is_reported() {
    let store = TestStore::create().await;
    assert_eq!(store.jobs.get(new_id()).await.expect("an answer"), None);
    let id = store.job().await;
    store.tamper(id, doc! { "state": "RUNNING" }).await;
    let outcome = store.jobs.get(id).await;
    assert!(matches!(outcome, Err(StoreError::Corrupt(_))), "{outcome:?}");
    let other = "another".parse().expect("a tenant");
    assert_eq!(store.jobs.get_of(&other, id).await.expect("an answer"), None, "it is not there for others");
    store.space.cleanup().await;
}

#[tokio::test]
async fn provisioning_twice_is_harmless() {
    let store = TestStore::create().await;
    let id = store.job().await;
    let before = store.document(id).await;
    store.jobs.provision().await.expect("provisioned again");
    let mut names = store.stored.list_index_names().await.expect("names");
    names.sort();
    assert_eq!(
        names,
        [
            "_id_",
            "announcements",
            "expiry",
            "idempotencyOfCaller",
            "jobsInBrokerOrRunning",
            "lastOwnFinishedOfTenant",
            "leases",
            "newestFirst",
            "newestFirstByAccess",
            "newestFirstByState",
            "newestFirstByVehicle",
            "newestFirstOfCreator",
            "waitingInTurn",
        ]
    );
    assert_eq!(store.document(id).await, before);
    store.space.cleanup().await;
}
