//! S3: the API reads objects and the worker uploads them, with exactly the policies that `exports
//! provision` prints.

use std::collections::BTreeMap;
use std::future::pending;
use std::num::NonZeroU32;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, CompletedMultipartUpload, Delete,
    ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter, ObjectIdentifier,
};
use export_s3::{ResultBucket, S3Error};
use export_settings::s3::S3Settings;
use export_testkit::isolation::s3_client;
use export_testkit::program::Program;
use export_testkit::s3_server::{Identity, Policy, S3Server};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::Matrix;
use crate::space::EXPORTS;

const BUCKET: &str = "results";
const INSIDE: &str = "exports/default/result.zip";
const OUTSIDE: &str = "exportsx/result.zip";
const IDENTITIES: [&str; 2] = ["api", "worker"];
const NO_IDENTITY: [bool; 2] = [false; 2];
const API: [bool; 2] = [true, false];
const WORKER: [bool; 2] = [false, true];

/// The policy that `exports provision` prints, without any service.
fn policy(service: &str) -> Policy {
    let arguments = ["provision", "--print-s3-policy", service, "--s3-bucket", BUCKET];
    let ended = Program::new(EXPORTS, &arguments, &[]).run();
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    Policy::parse(&serde_json::from_str(&ended.output).expect("JSON")).expect("a policy")
}

/// A server with two buckets, and objects inside and outside the clients' permissions.
struct Fixture {
    url: String,
    administrator: Client,
    _root: TempDir,
}

impl Fixture {
    async fn start() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let identity = |name: &str, policy| Identity {
            access_key_id: name.to_owned(),
            secret_access_key: format!("hunter2-{name}"),
            policy,
        };
        let mut identities = vec![identity("administrator", None)];
        identities.extend(IDENTITIES.map(|name| identity(name, Some(policy(name)))));
        let server = S3Server::new(root.path(), identities).expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(server.serve(listener, pending()));
        let administrator = s3_client(&url, "administrator", "hunter2-administrator");
        for bucket in [BUCKET, "elsewhere"] {
            administrator.create_bucket().bucket(bucket).send().await.expect("a bucket");
            for key in [INSIDE, OUTSIDE] {
                let put = administrator.put_object().bucket(bucket).key(key);
                put.body(ByteStream::from_static(b"there")).send().await.expect("stored");
            }
        }
        Self { url, administrator, _root: root }
    }

    fn client(&self, identity: &str) -> Client {
        s3_client(&self.url, identity, &format!("hunter2-{identity}"))
    }

    async fn bucket(&self, key: &str, secret: &str, bucket: &str) -> ResultBucket {
        let server = export_s3::S3Server {
            endpoint_url: self.url.clone(),
            access_key_id: key.to_owned(),
            secret_access_key: secret.to_owned().into(),
        };
        ResultBucket::at(&server, settings(bucket)).await.expect("a client")
    }

    /// The id of an upload, begun by the client itself if it may: the server knows the owner of an
    /// upload.
    async fn upload<'a>(&'a self, client: &'a Client, key: &str) -> (&'a Client, String) {
        for owner in [client, &self.administrator] {
            if let Ok(begun) = owner.create_multipart_upload().bucket(BUCKET).key(key).send().await {
                return (owner, begun.upload_id.expect("an id"));
            }
        }
        panic!("no identity can begin an upload of {key}");
    }
}

fn settings(bucket: &str) -> S3Settings {
    let flags = [&format!("--s3-bucket={bucket}"), "--s3-force-path-style=true"];
    export_settings::from_flags(&flags).expect("settings")
}

/// The code of a refusal; `None` if the request succeeded. Panics at any other failure.
fn refusal<T, E, R>(outcome: Result<T, SdkError<E, R>>) -> Option<String>
where
    E: ProvideErrorMetadata + std::fmt::Debug,
    R: std::fmt::Debug,
{
    let error = outcome.err()?;
    // The answer to a HEAD request has no body and no code; the SDK derives a code from the status.
    let code = error.code().unwrap_or("none").to_owned();
    let text = format!("{error:?}");
    assert!(code == "AccessDenied" || text.contains("StatusCode(403)"), "{text}");
    Some(code)
}

/// Tries every action; returns the refusals by action.
async fn attempt_all(fixture: &Fixture, client: &Client) -> BTreeMap<String, Option<String>> {
    let mut outcomes = BTreeMap::new();
    for (place, bucket, key) in
        [("inside", BUCKET, INSIDE), ("outside", BUCKET, OUTSIDE), ("elsewhere", "elsewhere", INSIDE)]
    {
        let mut note = |action: &str, refused| outcomes.insert(format!("{action} {place}"), refused);
        note("get", refusal(client.get_object().bucket(bucket).key(key).send().await));
        note("head", refusal(client.head_object().bucket(bucket).key(key).send().await));
        let put = client.put_object().bucket(bucket).key(format!("{key}.new"));
        note("put", refusal(put.body(ByteStream::from_static(b"new")).send().await));
        let begun = client.create_multipart_upload().bucket(bucket).key(format!("{key}.parts")).send().await;
        note("begin an upload", refusal(begun));
        let source = format!("{BUCKET}/{INSIDE}");
        let copy = client.copy_object().copy_source(source).bucket(bucket).key(format!("{key}.copy"));
        note("copy", refusal(copy.send().await));
        note("get tags", refusal(client.get_object_tagging().bucket(bucket).key(key).send().await));
        note(
            "get attributes",
            refusal(
                client
                    .get_object_attributes()
                    .object_attributes("ObjectSize".into())
                    .bucket(bucket)
                    .key(key)
                    .send()
                    .await,
            ),
        );
        let objects = ObjectIdentifier::builder().key(key).build().expect("an object");
        let delete = Delete::builder().objects(objects).build().expect("a request");
        note("delete many", refusal(client.delete_objects().bucket(bucket).delete(delete).send().await));
        note("delete", refusal(client.delete_object().bucket(bucket).key(key).send().await));
        note("list", refusal(client.list_objects_v2().bucket(bucket).prefix("exports/").send().await));
        note("list the old way", refusal(client.list_objects().bucket(bucket).send().await));
        note("list uploads", refusal(client.list_multipart_uploads().bucket(bucket).send().await));
        note("check the bucket", refusal(client.head_bucket().bucket(bucket).send().await));
        note("locate the bucket", refusal(client.get_bucket_location().bucket(bucket).send().await));
        let lifecycle = client.get_bucket_lifecycle_configuration().bucket(bucket).send().await;
        note("read the lifecycle", refusal(lifecycle));
        note("read the policy", refusal(client.get_bucket_policy().bucket(bucket).send().await));
        let policy = client.put_bucket_policy().bucket(bucket).policy("{}").send().await;
        note("set the policy", refusal(policy));
        note("delete the bucket", refusal(client.delete_bucket().bucket(bucket).send().await));
    }
    for (place, key) in [("inside", INSIDE), ("outside", OUTSIDE)] {
        let mut note = |action: &str, refused| outcomes.insert(format!("{action} {place}"), refused);
        let (_, id) = fixture.upload(client, key).await;
        let part = client.upload_part().bucket(BUCKET).key(key).upload_id(&id).part_number(1);
        note("upload a part", refusal(part.body(ByteStream::from_static(b"part")).send().await));
        let copy = client.upload_part_copy().bucket(BUCKET).key(key).upload_id(&id).part_number(2);
        note("copy a part", refusal(copy.copy_source(format!("{BUCKET}/{INSIDE}")).send().await));
        note("list parts", refusal(client.list_parts().bucket(BUCKET).key(key).upload_id(&id).send().await));
        let abort = client.abort_multipart_upload().bucket(BUCKET).key(key).upload_id(&id);
        note("abort an upload", refusal(abort.send().await));
        let (owner, id) = fixture.upload(client, key).await;
        let part = owner.upload_part().bucket(BUCKET).key(key).upload_id(&id).part_number(1);
        let part = part.body(ByteStream::from_static(b"part")).send().await.expect("uploaded");
        let part = aws_sdk_s3::types::CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).build();
        let parts = CompletedMultipartUpload::builder().parts(part).build();
        let complete = client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(&id);
        note("complete an upload", refusal(complete.multipart_upload(parts).send().await));
    }
    outcomes.insert("list buckets".to_owned(), refusal(client.list_buckets().send().await));
    outcomes.insert("make a bucket".to_owned(), refusal(client.create_bucket().bucket("more").send().await));
    outcomes
}

#[tokio::test]
async fn each_key_can_do_what_is_listed_and_nothing_else() {
    let fixture = Fixture::start().await;
    let listed = [
        ("get inside", API),
        ("head inside", API),
        ("put inside", WORKER),
        ("begin an upload inside", WORKER),
        ("upload a part inside", WORKER),
        ("complete an upload inside", WORKER),
        ("abort an upload inside", WORKER),
    ];
    let mut matrix = Matrix::default();
    for (index, identity) in IDENTITIES.into_iter().enumerate() {
        let outcomes = attempt_all(&fixture, &fixture.client(identity)).await;
        assert!(listed.iter().all(|(action, _)| outcomes.contains_key(*action)), "{outcomes:?}");
        for (action, refused) in outcomes {
            let allowed =
                listed.iter().find(|(name, _)| *name == action).map_or(NO_IDENTITY, |(_, who)| *who);
            matrix.note(&action, identity, allowed[index], refused);
        }
    }
    matrix.check(120);
}

#[tokio::test]
async fn a_key_without_rights_to_the_bucket_is_ready_and_a_wrong_key_is_not() {
    let fixture = Fixture::start().await;
    for identity in IDENTITIES {
        let secret = format!("hunter2-{identity}");
        fixture.bucket(identity, &secret, BUCKET).await.check().await.expect("ready");
        let missing = fixture.bucket(identity, &secret, "missing").await;
        let outcome = missing.check().await;
        assert!(matches!(&outcome, Err(S3Error::NoBucket(name)) if name == "missing"), "{outcome:?}");
        let wrong = fixture.bucket(identity, "hunter3", BUCKET).await.check().await;
        assert!(
            matches!(&wrong, Err(S3Error::Sdk { code, .. }) if code == "SignatureDoesNotMatch"),
            "{wrong:?}"
        );
        // Provisioning needs more rights and fails with that reason.
        let provisioned = fixture.bucket(identity, &secret, BUCKET).await.provision(NonZeroU32::MIN).await;
        assert!(matches!(provisioned, Err(S3Error::AccessDenied(_))), "{provisioned:?}");
    }
    let stranger = fixture.bucket("stranger", "hunter2", BUCKET).await.check().await;
    assert!(matches!(stranger, Err(S3Error::Sdk { .. })), "{stranger:?}");
}

#[tokio::test]
async fn lifecycle_rules_are_set_and_other_rules_stay() {
    let fixture = Fixture::start().await;
    let bucket = fixture.bucket("administrator", "hunter2-administrator", BUCKET).await;
    let days = |days| NonZeroU32::new(days).expect("not zero");
    let rules = async || {
        let read = fixture.administrator.get_bucket_lifecycle_configuration().bucket(BUCKET).send().await;
        let rules = read.expect("rules").rules.unwrap_or_default();
        rules
            .iter()
            .map(|rule| {
                let kept = rule.expiration().and_then(LifecycleExpiration::days);
                let unfinished = rule
                    .abort_incomplete_multipart_upload()
                    .and_then(AbortIncompleteMultipartUpload::days_after_initiation);
                (rule.id().unwrap_or_default().to_owned(), kept, unfinished)
            })
            .collect::<Vec<_>>()
    };
    let ours = |kept| {
        [
            ("theirs".to_owned(), Some(3), None),
            ("exports-abort-unfinished-uploads".to_owned(), None, Some(1)),
            ("exports-expire-results".to_owned(), Some(kept), None),
        ]
    };
    let theirs = LifecycleRule::builder()
        .id("theirs")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("theirs/").build())
        .expiration(LifecycleExpiration::builder().days(3).build());
    let theirs = BucketLifecycleConfiguration::builder().rules(theirs.build().expect("a rule"));
    let put = fixture.administrator.put_bucket_lifecycle_configuration().bucket(BUCKET);
    put.lifecycle_configuration(theirs.build().expect("rules")).send().await.expect("set");

    bucket.provision(days(7)).await.expect("provisioned");
    assert_eq!(rules().await, ours(9));
    bucket.provision(days(7)).await.expect("provisioned again");
    assert_eq!(rules().await, ours(9));
    bucket.provision(days(30)).await.expect("provisioned with another setting");
    assert_eq!(rules().await, ours(32));
}
