//! No secret is printed: not in logs at trace level, not in answers, not when a service rejects it.
//!
//! Every secret of a program here is a canary, a text that occurs nowhere else. The test searches
//! all output and answers of the programs for them.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use export_faults::{Api, Deployment, Fleet};
use export_testkit::proxy::{Fault, Pattern, Rule};
use serde_json::json;

/// The most verbose logs, including targets that the programs suppress by default.
const LOUD: [(&str, &str); 3] = [
    (
        "LOG_LEVEL",
        "trace,hyper=trace,h2=trace,aws=trace,aws_config=trace,aws_runtime=trace,aws_sdk_s3=trace,aws_sigv4=trace,\
         aws_smithy_runtime=trace,lapin=trace,mongodb=trace,rustls=trace",
    ),
    ("LOG_FORMAT", "json"),
    ("RUST_BACKTRACE", "1"),
];

/// The secrets of one test.
struct Canaries {
    names: Vec<(&'static str, String)>,
}

impl Canaries {
    fn new(deployment: &Deployment) -> Self {
        let id = &deployment.space.id;
        let passwords =
            ["api-mongodb", "worker-mongodb", "source", "api-rabbitmq", "worker-rabbitmq", "wrong"];
        let mut names: Vec<_> = passwords.map(|name| (name, format!("canary-{name}-{id}"))).into();
        let s3 = deployment.space.services.s3_secret_access_key.clone();
        assert!(
            s3.len() >= 16,
            "the S3 key of the tests is no canary: it is too short to stand nowhere else"
        );
        names.push(("s3", s3));
        Self { names }
    }

    fn get(&self, name: &str) -> &str {
        let found = self.names.iter().find(|(known, _)| *known == name);
        &found.unwrap_or_else(|| panic!("no canary {name}")).1
    }

    /// Panics when one of them is in the text, plain or in one of the encodings that protocols use.
    fn assert_not_in(&self, whose: &str, text: &str) {
        for (name, secret) in &self.names {
            for form in forms(secret) {
                if let Some(at) = text.find(&form) {
                    let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
                    let line = text[line..].lines().next().unwrap_or_default();
                    panic!("{whose} prints the secret {name}: {}", line.replace(&form, "<<it>>"));
                }
            }
        }
        // With a link's signature anyone can download the file.
        assert!(!text.contains("X-Amz-Signature="), "{whose} prints a signed link");
    }
}

/// The text itself, as base64 at every offset in the encoded bytes, and as bytes in a debug text.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    for before in 0..3 {
        let encoded = STANDARD.encode([" ".repeat(before).as_bytes(), secret.as_bytes()].concat());
        // The characters that depend on the neighbours are left out.
        forms.push(encoded[4..encoded.len() - 4].to_owned());
    }
    let mut bytes = String::new();
    for byte in secret.bytes() {
        let _ = write!(bytes, "{byte}, ");
    }
    forms.push(bytes.trim_end_matches(", ").to_owned());
    forms
}

#[test]
fn canaries_are_found_in_every_form() {
    let canaries = Canaries { names: vec![("one", "canary-one-1".to_owned())] };
    canaries.assert_not_in("another text", "canary-two-1");
    let told = ["\0user\0canary-one-1", "user:canary-one-1", "xcanary-one-1y"];
    for plain in told {
        for text in [plain.to_owned(), STANDARD.encode(plain), format!("{:?}", plain.as_bytes())] {
            let looked = std::panic::catch_unwind(|| canaries.assert_not_in("a text", &text));
            assert!(looked.is_err(), "not found in {text}");
        }
    }
}

/// Users with canaries as passwords, as in a deployment.
struct Users {
    api_mongodb: String,
    worker_mongodb: String,
    source: String,
    api_rabbitmq: String,
    worker_rabbitmq: String,
}

impl Users {
    async fn provision(deployment: &Deployment, canaries: &Canaries) -> Self {
        let (id, services) = (&deployment.space.id, &deployment.space.services);
        let mongodb = |name: &str| services.mongodb_uri_as(&format!("{name}-{id}"), canaries.get(name));
        let (_, rest) = services.rabbitmq_url.split_once('@').expect("a user");
        let rabbitmq = |name: &str| format!("amqp://{name}-{id}:{}@{rest}", canaries.get(name));
        let users = Self {
            api_mongodb: mongodb("api-mongodb"),
            worker_mongodb: mongodb("worker-mongodb"),
            source: mongodb("source"),
            api_rabbitmq: rabbitmq("api-rabbitmq"),
            worker_rabbitmq: rabbitmq("worker-rabbitmq"),
        };
        let settings = [
            ("RABBITMQ_MANAGEMENT_URL", services.rabbitmq_management_url.as_str()),
            ("API_MONGODB_URI", &users.api_mongodb),
            ("WORKER_MONGODB_URI", &users.worker_mongodb),
            ("WORKER_SOURCE_MONGODB_URI", &users.source),
            ("API_RABBITMQ_URL", &users.api_rabbitmq),
            ("WORKER_RABBITMQ_URL", &users.worker_rabbitmq),
            ("RETRY_REST_MS", "200"),
        ];
        let links = deployment.links().await;
        let program = deployment.program("exports", &["provision"], &links);
        let program =
            settings.iter().chain(&LOUD).fold(program, |program, (name, value)| program.with(name, value));
        let ended = tokio::task::spawn_blocking(move || program.run()).await.expect("it ends");
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        canaries.assert_not_in("exports provision", &ended.output);
        users
    }

    async fn remove(&self, deployment: &Deployment) {
        let id = &deployment.space.id;
        let admin = deployment.space.mongodb.database("admin");
        for name in ["api-mongodb", "worker-mongodb", "source"] {
            admin.run_command(bson::doc! { "dropUser": format!("{name}-{id}") }).await.expect("dropped");
        }
    }
}

fn loud<'d>(deployment: &'d Deployment, settings: &[(&str, &str)]) -> export_faults::Start<'d> {
    settings.iter().chain(&LOUD).fold(deployment.hasty(), |start, (name, value)| start.with(name, value))
}

/// All answers during the life of an export, and to requests that are refused.
async fn answers(api: &Api, job_id: &str) -> String {
    let mut told = String::new();
    let paths = ["/export/", "/nothing", "/export", "/export?limit=0", "/vehicles", "/openapi.json"];
    for path in paths.map(str::to_owned).into_iter().chain([format!("/export/{job_id}x")]) {
        let answer = api.get(&path).await;
        let _ = writeln!(told, "{path}: {:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
    }
    for body in [json!({}), json!({ "startDate": "2018-11-30", "endDate": "x" }), json!([])] {
        let answer = api.post(&body).await;
        let _ = writeln!(told, "{body}: {:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_at_work_reveal_no_secret() {
    let deployment = Deployment::start().await;
    let canaries = Canaries::new(&deployment);
    let users = Users::provision(&deployment, &canaries).await;
    let fleet = Fleet::odd(&deployment).await;
    let api = [("MONGODB_URI", users.api_mongodb.as_str()), ("RABBITMQ_URL", &users.api_rabbitmq)];
    let worker = [
        ("MONGODB_URI", users.worker_mongodb.as_str()),
        ("SOURCE_MONGODB_URI", &users.source),
        ("RABBITMQ_URL", &users.worker_rabbitmq),
    ];
    let api = loud(&deployment, &api).api().await;
    let worker = loud(&deployment, &worker).worker().await;

    // S3 refuses once: its answer and the retries are logged.
    worker.links.s3.add(Rule::request(Pattern::starting("PUT /"), Fault::access_denied()).times(1));
    let job_id = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &job_id).await;
    let job = api.get(&format!("/export/{job_id}")).await.json();
    assert!(job["downloadUrl"].as_str().is_some_and(|link| link.contains("X-Amz-Signature=")), "{job}");
    let download = api.get(&format!("/export/{job_id}/download")).await;
    assert_eq!(download.status, 303);

    canaries.assert_not_in("an answer", &answers(&api, &job_id).await);
    for (name, output) in [("the API", api.output()), ("the worker", worker.output())] {
        assert!(output.contains("TRACE"), "{name} is not loud: {output}");
        canaries.assert_not_in(name, &output);
    }
    drop((api, worker));
    users.remove(&deployment).await;
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_are_refused_reveal_no_secret() {
    let deployment = Deployment::start().await;
    let canaries = Canaries::new(&deployment);
    let services = &deployment.space.services;
    let wrong = canaries.get("wrong");
    let (_, rest) = services.rabbitmq_url.split_once('@').expect("a user");
    let settings = [
        ("MONGODB_URI", services.mongodb_uri_as("unknown", wrong)),
        ("SOURCE_MONGODB_URI", services.mongodb_uri_as("unknown", wrong)),
        ("RABBITMQ_URL", format!("amqp://unknown:{wrong}@{rest}")),
        ("AWS_SECRET_ACCESS_KEY", wrong.to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));

    let mut api = loud(&deployment, &settings).api().await;
    let refused = api.post(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    canaries.assert_not_in(
        "an answer",
        &format!("{:?} {}", refused.headers, String::from_utf8_lossy(&refused.body)),
    );
    api.until_written("not reachable");
    let mut worker = loud(&deployment, &settings).worker().await;
    worker.until_written("not reachable");
    // With a working source and job store, the program reaches S3.
    let only_s3 = [("AWS_SECRET_ACCESS_KEY", wrong)];
    let mut without_s3 = loud(&deployment, &only_s3).worker().await;
    without_s3.until_written("not reachable");

    for (name, output) in [
        ("the API", api.output()),
        ("the worker", worker.output()),
        ("the worker without S3", without_s3.output()),
    ] {
        canaries.assert_not_in(name, &output);
    }
    drop((api, worker, without_s3));
    deployment.forget().await;
}
