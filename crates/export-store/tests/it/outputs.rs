//! The output options and objects of a result, as stored.

use bson::{Bson, Document, doc};
use export_core::job::NewJob;
use export_core::output::{LONGEST_STEP_MS, OPTIONS, OutputOptions, Values};
use export_core::request::ExportRequest;
use export_core::result::{ResultObject, WrittenResult};
use export_store::{Created, Held, JobStore, StoreError};
use mongodb::options::UpdateModifications;

use crate::store::{TestStore, create, new_job, request, result, written};

async fn created(jobs: &JobStore, output: OutputOptions) -> export_core::JobId {
    let new = NewJob { request: ExportRequest { output, ..request() }, ..new_job() };
    match create(jobs, &new).await {
        Created::New(job) => assert_eq!(job.request, new.request),
        other => panic!("not created: {other:?}"),
    }
    new.id
}

fn output(fields: Document) -> OutputOptions {
    bson::deserialize_from_document(fields).expect("options")
}

#[tokio::test]
async fn every_option_survives() {
    let store = TestStore::create().await;
    let mut outputs = vec![OutputOptions::default()];
    for option in OPTIONS {
        match option.values {
            Values::OneOf(names) => {
                outputs.extend(names.iter().map(|name| output(doc! { "stepMs": 1_i64, option.name: *name })));
            }
            Values::Milliseconds => {
                let longest = i64::try_from(LONGEST_STEP_MS).expect("a number of BSON");
                for fill in ["none", "previous"] {
                    outputs.extend([1, longest].map(|ms| output(doc! { option.name: ms, "fill": fill })));
                }
            }
        }
    }
    for output in outputs {
        let id = created(&store.jobs, output).await;
        assert_eq!(store.get(id).await.request.output, output);
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn options_are_stored_by_the_names_of_the_request() {
    let store = TestStore::create().await;
    let options = doc! {
        "archive": "none", "compression": "zstd", "timeFormat": "rfc3339", "csvGuard": "off",
        "stepMs": 60_000_i64, "fill": "previous",
    };
    let id = created(&store.jobs, output(options)).await;
    let stored = store.document(id).await;
    for (name, value) in [
        ("format", Bson::from("csv")),
        ("archive", "none".into()),
        ("compression", "zstd".into()),
        ("timeFormat", "rfc3339".into()),
        ("csvGuard", "off".into()),
        ("stepMs", 60_000_i64.into()),
        ("fill", "previous".into()),
    ] {
        assert_eq!(stored.get(name), Some(&value), "{name}");
    }
    store.space.cleanup().await;
}

/// A job that was accepted, or finished, before there were options.
#[tokio::test]
async fn jobs_of_earlier_versions_are_what_was_the_only_way_then() {
    let store = TestStore::create().await;
    let fence = store.claimed_job("worker").await;
    assert_eq!(store.commit(&fence, &result("s3://b/k.zip")).await, Held::Done);
    let written = store.get(fence.job_id).await;
    let absent = ["compression", "timeFormat", "csvGuard", "stepMs", "fill", "objects"];
    let unset = |names: &[&str]| UpdateModifications::Pipeline(vec![doc! { "$unset": names }]);
    let filter = doc! { "_id": fence.job_id.to_string() };
    store.stored.update_one(filter.clone(), unset(&absent)).await.expect("changed");
    let read = store.get(fence.job_id).await;
    assert_eq!(read, written);
    assert_eq!(read.request.output, OutputOptions::default());
    store.stored.update_one(filter, unset(&["format", "archive"])).await.expect("changed");
    assert_eq!(store.get(fence.job_id).await, written);
    store.space.cleanup().await;
}

/// An option of a later version must not be exported as if it were another.
#[tokio::test]
async fn options_of_later_versions_are_no_defaults() {
    let store = TestStore::create().await;
    for unknown in [doc! { "compression": "brotli" }, doc! { "format": "orc" }, doc! { "stepMs": 0_i64 }] {
        let id = store.job().await;
        store.tamper(id, unknown.clone()).await;
        let outcome = store.jobs.get(id).await;
        assert!(matches!(outcome, Err(StoreError::Corrupt(_))), "{unknown}: {outcome:?}");
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn the_objects_of_a_result_survive_in_their_order() {
    let store = TestStore::create().await;
    let object = |name: &str, bytes| ResultObject { name: name.to_owned(), bytes, sha256: None };
    let objects = vec![
        object("vehicle_002.csv.gz", 2),
        object("$$NOW.csv.gz", 0),
        object("Bus_ü.csv.gz", 5_000_000_000_000),
        object("manifest.json", 900),
    ];
    // And thousands, as in large fleets.
    let many = (0..5_000).map(|number| object(&format!("vehicle_{number:05}.parquet"), number)).collect();
    for objects in [objects, many] {
        let id = store.job().await;
        let (job, fence) = store.claimed(id, "worker").await;
        let whole =
            WrittenResult { objects: objects.clone(), ..written("s3://bucket/exports/default/id/1-nonce/") };
        let finished = store.finish_result(&job, &fence, &whole).await;
        assert_eq!(store.jobs.commit(&fence, &finished).await.expect("an answer"), Held::Done);
        assert_eq!(store.get(id).await.result, Some(whole.result));
        assert_eq!(store.jobs.objects_of(id).await.expect("an answer"), Some(objects));
    }
    store.space.cleanup().await;
}
