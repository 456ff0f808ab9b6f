use std::future::{Ready, ready};

use chrono::DateTime;
use export_core::access::AllowedVehicles;
use export_core::job::{ExportResult, JobState, Priority, Progress, Stats};
use export_core::request::ExportRequest;
use export_core::warnings::Warnings;
use export_core::{JobId, Tenant};
use export_s3::S3Server;
use export_settings::s3::{PayloadSigning, S3Settings};
use serde_json::json;
use uuid::Uuid;

use super::*;

/// A bucket that signs links; no request is sent to it.
async fn bucket(name: &str) -> ResultBucket {
    let server = S3Server {
        endpoint_url: "http://s3.test".to_owned(),
        access_key_id: "id".to_owned(),
        secret_access_key: "key".to_owned().into(),
    };
    let settings = S3Settings {
        payload_signing: PayloadSigning::Auto,
        bucket: name.to_owned(),
        key_prefix: "exports/".to_owned(),
        force_path_style: true,
        public_endpoint_url: None,
    };
    ResultBucket::at(&server, settings).await.expect("a client")
}

/// A turn that comes at once.
fn at_once() -> Ready<Result<(), Problem>> {
    ready(Ok(()))
}

/// A finished job in the bucket `results`.
pub(in crate::routes::exports) fn finished(archive: &str) -> Job {
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "archive": archive });
    Job {
        id: JobId::new(Uuid::nil()),
        tenant: Tenant::default_tenant(),
        created_by: None,
        allowed_vehicles: AllowedVehicles::All,
        request: ExportRequest::parse(&body).expect("a request"),
        state: JobState::Finished,
        epoch: 1,
        priority: Priority::default(),
        max_attempts: 5,
        owner: None,
        heartbeat_at: None,
        run_after: DateTime::UNIX_EPOCH,
        published_at: None,
        outage_since: None,
        cancel_requested: false,
        expires_at: None,
        share_key: None,
        result_id: Some(JobId::new(Uuid::nil())),
        made_at: None,
        checked_at: None,
        waiting_for: None,
        trace_parent: None,
        first_warnings: Warnings::default(),
        attempts: 1,
        progress: Progress::default(),
        result: Some(ExportResult {
            export_uri: "s3://results/exports/default/00000000-0000-0000-0000-000000000000/1-nonce/"
                .to_owned(),
            stats: Stats {
                rows: 0,
                points: 0,
                rejected: 0,
                uncompressed_bytes: 0,
                bytes: 0,
                sha256: String::new(),
                duration_ms: 0,
                peak_memory_bytes: 0,
                ..Stats::default()
            },
        }),
        failure: None,
        created_at: DateTime::UNIX_EPOCH,
        started_at: None,
        finished_at: None,
    }
}

fn objects(count: usize) -> Vec<ResultObject> {
    (0..count)
        .map(|number| ResultObject { name: format!("vehicle_{number}.csv.gz"), bytes: 7, sha256: None })
        .collect()
}

#[tokio::test]
async fn links_of_one_answer_are_bounded() {
    let (job, listed) = (finished("none"), objects(MAX_LINKS + 3));
    let links =
        ResultLinks::sign(&job, &listed, &bucket("results").await, &LinkCache::default(), at_once()).await;
    let links = links.expect("signed").expect("ours");
    assert_eq!(links.download_url, None);
    let objects = links.objects.expect("objects");
    assert_eq!(objects.len(), MAX_LINKS + 3, "all are listed");
    for (index, object) in objects.iter().enumerate() {
        assert_eq!(object.name, format!("vehicle_{index}.csv.gz"));
        let start = format!(
            "http://s3.test/results/exports/default/00000000-0000-0000-0000-000000000000/1-nonce/{}?",
            object.name
        );
        let is_linked = object.download_url.as_ref().is_some_and(|link| link.starts_with(&start));
        assert_eq!(is_linked, index < MAX_LINKS, "{object:?}");
    }
}

#[tokio::test]
async fn d6_results_elsewhere_have_no_links() {
    let other = bucket("moved").await;
    for archive in ["zip", "none"] {
        let (job, listed) = (finished(archive), objects(2));
        let links = ResultLinks::sign(&job, &listed, &other, &LinkCache::default(), at_once()).await;
        assert!(links.expect("an answer").is_none(), "{archive}");
    }
    // Nor do results elsewhere in the bucket, whatever the job's document says, even if an answer
    // about the right result is cached.
    let (ours, listed, cache) = (bucket("results").await, objects(2), LinkCache::default());
    let of_result = finished("none").result.expect("a result").export_uri;
    assert!(
        ResultLinks::sign(&finished("none"), &listed, &ours, &cache, at_once())
            .await
            .expect("signed")
            .is_some()
    );
    for (archive, uri) in [("none", of_result.clone()), ("zip", of_result.replace("nonce/", "nonce.zip"))] {
        for d6_forged in [
            uri.replace("/default/", "/other/"),
            uri.replace("/00000000-", "/00000001-"),
            uri.replace("/exports/", "/"),
            uri.replace("1-nonce", "../1-nonce"),
            uri.replace("/default/", "/default//"),
        ] {
            let mut job = finished(archive);
            job.result.as_mut().expect("a result").export_uri = d6_forged.clone();
            let links = ResultLinks::sign(&job, &listed, &ours, &cache, at_once()).await.expect("an answer");
            assert!(links.is_none(), "{d6_forged}");
        }
        let job = Job { tenant: "other".parse().expect("a tenant"), ..finished(archive) };
        assert!(
            ResultLinks::sign(&job, &listed, &ours, &cache, at_once()).await.expect("an answer").is_none()
        );
    }
    let (job, listed) = (finished("none"), objects(2));
    let unsigned = ResultLinks::unsigned(&job, &listed).objects.expect("objects");
    assert!(unsigned.len() == 2 && unsigned.iter().all(|object| object.download_url.is_none()));
    assert!(ResultLinks::unsigned(&finished("zip"), &[]).objects.is_none());
}

#[tokio::test]
async fn c9_only_many_links_need_a_turn() {
    let (bucket, job) = (bucket("results").await, finished("none"));
    for (count, is_signed) in [(FEW_LINKS, true), (FEW_LINKS + 1, false)] {
        let busy = async { Err::<(), _>(Problem::overloaded()) };
        let listed = objects(count);
        let links = ResultLinks::sign(&job, &listed, &bucket, &LinkCache::default(), busy).await;
        assert_eq!(links.is_ok(), is_signed, "{count}");
    }
}
