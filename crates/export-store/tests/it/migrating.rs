//! Provisioning migrates a database of the version before results were documents.

use bson::{Bson, DateTime, Document, doc};
use export_core::JobId;
use export_core::access::AllowedVehicles;
use export_core::job::{JobState, NewJob};
use export_core::result::ResultObject;
use futures_util::TryStreamExt;
use mongodb::IndexModel;
use mongodb::options::IndexOptions;

use crate::store::{TestStore, new_job};

/// The time of the fixture: 2026-11-29, and some time later.
const CREATED_MS: i64 = 1_795_934_700_000;
const KEY: &str = "3a7bd3e2360a3d29eea436fcfb7e44c735d117c42d1c1835420b6b9942dd4f1b";

/// The id of the fixture's job with this number.
fn id(number: u8) -> String {
    format!("019ace5e-7a01-7c3a-9d5e-0123456789{number:02x}")
}

fn job_id(number: u8) -> JobId {
    id(number).parse().expect("an id")
}

fn at(seconds: i64) -> Bson {
    DateTime::from_millis(CREATED_MS + seconds * 1_000).into()
}

/// A job as that version created it: every field, in its order.
fn created(number: u8, tenant: &str) -> Document {
    let mut job = doc! {
        "_id": id(number), "tenant": tenant, "createdBy": "key-1", "allowedVehicles": null,
        "idempotencyKey": null, "requestHash": null,
        "startDate": "2018-11-30", "endDate": "2018-12-01", "timezone": "UTC",
        "range": { "from": DateTime::from_millis(1_543_536_000_000), "to": DateTime::from_millis(1_543_622_400_000) },
        "vehicles": null, "parameters": null, "format": "csv", "archive": "none", "compression": "gzip",
        "timeFormat": "unix_ms", "csvGuard": "on", "stepMs": null, "fill": null, "webhookUrl": null,
    };
    job.extend(doc! {
        "state": "NOT_STARTED", "epoch": 0_i64, "attempts": 0_i64, "maxAttempts": 5_i64, "priority": "interactive",
        "owner": null, "leaseUntil": null, "publishedAt": null, "cancelRequested": false, "progress": progress(0.0, 0),
        "exportUri": null, "objects": null, "stats": null, "error": null, "startedAt": null, "finishedAt": null,
        "expiresAt": null, "unannounced": [], "traceparent": null,
        "createdAt": at(0), "runAfter": at(0), "turnAt": at(0),
        "shareKey": KEY, "leads": true, "sharesResultOf": null, "resultAt": null,
    });
    job
}

fn progress(percent: f64, rows: i64) -> Document {
    doc! {
        "percent": percent, "vehiclesDone": rows, "vehiclesTotal": rows, "rows": rows, "points": rows, "bytes": rows,
        "documents": if rows > 0 { Bson::Int64(rows) } else { Bson::Null },
        "etaSeconds": if rows > 0 { Bson::Int64(0) } else { Bson::Null },
    }
}

fn with(mut job: Document, changes: Document) -> Document {
    job.extend(changes);
    job
}

/// The fields that the commit of that version has set.
fn finished(job: Document, uri: &str, objects: usize) -> Document {
    let objects: Vec<_> = (0..objects)
        .map(|number| doc! { "name": format!("vehicle_{number}.csv.gz"), "bytes": 7_i64 })
        .collect();
    let stats = doc! {
        "rows": 1_i64, "points": 2_i64, "rejected": 0_i64, "csvBytes": 4_i64, "bytes": 5_i64, "sha256": "",
        "durationMs": 7_i64, "peakMemoryBytes": 8_i64,
    };
    let changes = doc! {
        "state": "FINISHED", "epoch": 1_i64, "attempts": 1_i64, "republished": 0_i64, "publishedAt": at(1),
        "exportUri": uri, "objects": objects, "stats": stats, "progress": progress(100.0, 9), "startedAt": at(1),
        "finishedAt": at(5), "expiresAt": at(4_000_000_000),
    };
    with(job, changes)
}

/// The fields set when a job adopted its leader's result.
fn adopted(job: Document, leader: u8, uri: &str, objects: usize) -> Document {
    let changes = doc! {
        "epoch": 0_i64, "attempts": 0_i64, "publishedAt": null, "startedAt": at(6), "finishedAt": at(6),
        "leads": false, "sharesResultOf": id(leader), "resultAt": at(5),
    };
    let mut job = with(finished(job, uri, objects), changes);
    job.remove("republished");
    job
}

fn follower(number: u8, tenant: &str, leader: u8) -> Document {
    with(created(number, tenant), doc! { "leads": false, "sharesResultOf": id(leader) })
}

/// One job of each kind.
fn fixture() -> Vec<Document> {
    let ended =
        doc! { "leads": false, "finishedAt": at(5), "epoch": 1_i64, "attempts": 1_i64, "startedAt": at(1) };
    let error = doc! { "code": "unknown_vehicle", "message": "vehicle_9 does not exist" };
    let gone =
        doc! { "state": "EXPIRED", "exportUri": null, "objects": null, "leads": false, "expiresAt": at(60) };
    vec![
        finished(created(1, "a"), "s3://bucket/1/", 2),
        adopted(created(2, "a"), 1, "s3://bucket/1/", 2),
        // Replaced by a job that read the source again.
        with(finished(created(3, "b"), "s3://bucket/3/", 1), doc! { "leads": false }),
        finished(created(4, "b"), "s3://bucket/4/", 3),
        with(created(5, "c"), doc! { "publishedAt": at(1), "republished": 0_i64 }),
        follower(6, "c", 5),
        with(
            created(7, "d"),
            doc! { "state": "STARTED", "epoch": 1_i64, "attempts": 1_i64, "owner": "worker", "leaseUntil": at(30),
            "publishedAt": at(1), "republished": 0_i64, "startedAt": at(1) },
        ),
        with(with(created(8, "e"), ended.clone()), doc! { "state": "FAILED", "error": error.clone() }),
        with(follower(9, "e", 8), doc! { "state": "FAILED", "error": error, "finishedAt": at(6) }),
        with(
            created(10, "e"),
            doc! { "state": "CANCELLED", "cancelRequested": true, "leads": false, "finishedAt": at(5) },
        ),
        with(finished(created(11, "f"), "", 0), gone.clone()),
        // Its leader's result was swept before its own.
        adopted(created(12, "f"), 11, "s3://bucket/11/", 1),
        // Of the current hour: no share key.
        finished(
            with(created(13, "g"), doc! { "shareKey": null, "leads": false, "archive": "zip" }),
            "s3://bucket/13.zip",
            0,
        ),
        with(created(14, "g"), doc! { "shareKey": null, "leads": false }),
    ]
}

/// The indexes of that version whose conditions differ from those of today.
async fn old_indexes(store: &TestStore) {
    let index = |name: &str, keys: Document, unique: bool, condition: Document| {
        let options =
            IndexOptions::builder().name(name.to_owned()).unique(unique).partial_filter_expression(condition);
        IndexModel::builder().keys(keys).options(options.build()).build()
    };
    let text = || doc! { "$type": "string" };
    let waiting = doc! { "state": "NOT_STARTED", "publishedAt": null, "sharesResultOf": null };
    let active = doc! { "$or": [
        { "state": "STARTED" }, { "state": "NOT_STARTED", "publishedAt": { "$type": "date" } },
    ] };
    let indexes = [
        index(
            "leading",
            doc! { "tenant": 1, "shareKey": 1 },
            true,
            doc! { "leads": true, "shareKey": text() },
        ),
        index(
            "following",
            doc! { "sharesResultOf": 1, "_id": 1 },
            false,
            doc! { "state": "NOT_STARTED", "sharesResultOf": text() },
        ),
        index("waiting", doc! { "tenant": 1, "turnAt": 1, "_id": 1, "runAfter": 1 }, false, waiting),
        index("active", doc! { "state": 1, "publishedAt": 1, "tenant": 1, "runAfter": 1 }, false, active),
    ];
    store.stored.create_indexes(indexes).await.expect("indexes");
}

async fn all(store: &TestStore) -> Vec<Document> {
    let mut all = Vec::new();
    for collection in [&store.stored, &store.results] {
        let found = collection.find(doc! {}).sort(doc! { "_id": 1 }).await.expect("an answer");
        all.extend(found.try_collect::<Vec<_>>().await.expect("documents"));
    }
    all
}

#[tokio::test]
async fn a_database_of_the_version_before_is_brought_along() {
    let store = TestStore::create().await;
    store.stored.drop().await.expect("dropped");
    store.results.drop().await.expect("dropped");
    store.stored.insert_many(fixture()).await.expect("the fixture");
    old_indexes(&store).await;
    store.jobs.provision().await.expect("provisioned");

    // The results, with the objects that the jobs had.
    let results: Vec<Document> = store
        .results
        .find(doc! {})
        .sort(doc! { "_id": 1 })
        .await
        .expect("an answer")
        .try_collect()
        .await
        .expect("results");
    let told: Vec<_> = results
        .iter()
        .map(|result| {
            (result.get_str("_id").expect("an id").to_owned(), result.get_bool("current").expect("a bool"))
        })
        .collect();
    let expected = [(1, true), (3, false), (4, true), (11, false), (13, false)];
    assert_eq!(told, expected.map(|(number, is_current)| (id(number), is_current)));
    for (job, result, objects) in [(1, 1, 2), (2, 1, 2), (3, 3, 1), (4, 4, 3), (12, 11, 1), (13, 13, 0)] {
        let found = store.get(job_id(job)).await;
        assert_eq!((found.state, found.result_id), (JobState::Finished, Some(job_id(result))), "{job}");
        assert_eq!(found.shares_result(), job != result, "{job}");
        let stored = store.jobs.objects_of(job_id(result)).await.expect("an answer").expect("objects");
        let expected = (0..objects).map(|number| ResultObject {
            name: format!("vehicle_{number}.csv.gz"),
            bytes: 7,
            sha256: None,
        });
        assert_eq!(stored, expected.collect::<Vec<_>>(), "{job}");
        let result =
            store.results.find_one(doc! { "_id": id(result) }).await.expect("an answer").expect("a result");
        assert_eq!((result.get("madeAt"), result.get("epoch").is_some()), (Some(&at(5)), true), "{job}");
        assert_eq!(result.get("uri"), store.document(job_id(job)).await.get("exportUri"), "{job}");
    }

    // Jobs that waited for another job now wait for a worker, and all active ones continue.
    let waiting = store.document(job_id(6)).await;
    assert!(waiting.get("publishedAt") == Some(&Bson::Null) && waiting.get("runAfter") != Some(&at(0)));
    for number in [5, 6, 14] {
        store.claimed(job_id(number), "worker").await;
    }
    for (number, state) in [
        (7, JobState::Started),
        (8, JobState::Failed),
        (9, JobState::Failed),
        (10, JobState::Cancelled),
        (11, JobState::Expired),
    ] {
        assert_eq!(store.get(job_id(number)).await.state, state, "{number}");
    }
    let names = store.stored.list_index_names().await.expect("names");
    assert!(
        names.iter().all(|name| !["leading", "following", "waiting", "active"].contains(&name.as_str())),
        "{names:?}"
    );
    let old = ["leads", "sharesResultOf", "resultAt", "objects"];
    let old: Vec<_> = old.map(|field| doc! { field: { "$exists": true } }).into();
    let old = doc! { "$or": old };
    assert_eq!(store.stored.count_documents(old).await.expect("a count"), 0);

    // Once more: nothing changes, also after an interruption before the last step.
    let before = all(&store).await;
    store.jobs.provision().await.expect("provisioned");
    old_indexes(&store).await;
    store.jobs.provision().await.expect("provisioned");
    assert_eq!(all(&store).await, before);
    store.space.cleanup().await;
}

#[tokio::test]
async fn c2_restricted_jobs_of_the_version_before_get_their_access_key() {
    let store = TestStore::create().await;
    let patterns = ["b*", "a*", "b*"].map(|pattern| pattern.parse().expect("a pattern")).to_vec();
    let restricted = NewJob { allowed_vehicles: AllowedVehicles::Like(patterns), ..new_job() };
    let (restricted, other) = (store.created(&restricted).await.id, store.job().await);
    store.stored.update_many(doc! {}, doc! { "$unset": { "accessKey": "" } }).await.expect("changed");
    let named = IndexOptions::builder().name("activeJobs".to_owned()).build();
    let old = IndexModel::builder().keys(doc! { "state": 1, "publishedAt": 1 }).options(named).build();
    store.stored.create_index(old).await.expect("an index of that version");

    store.jobs.provision().await.expect("provisioned");
    let key = store.document(restricted).await.get_str("accessKey").map(str::to_owned);
    assert_eq!(key.expect("a key"), "a* b*");
    // An API of that version that still runs.
    store.stored.update_many(doc! {}, doc! { "$unset": { "accessKey": "" } }).await.expect("changed");
    store.jobs.provision().await.expect("provisioned");
    assert!(store.document(restricted).await.contains_key("accessKey"));
    assert!(!store.document(other).await.contains_key("accessKey"));
    let indexes = store.stored.list_index_names().await.expect("names");
    assert!(!indexes.contains(&"activeJobs".to_owned()), "{indexes:?}");
    store.space.cleanup().await;
}
