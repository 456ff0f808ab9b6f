//! Callers with keys, for tests of permissions.

use std::time::{Duration, Instant};

use export_api::config::{AccessSettings, KnownCallers};
use export_core::access::{AllowedVehicles, Scope};
use export_e2e::{Answer, Stack};
use export_store::KeyEnd;
use export_testkit::isolation::TestSpace;
use serde_json::Value;

/// A running API that requires keys, and caches answers about them for this long.
pub(crate) async fn api_with_keys(key_memory: Duration) -> Stack {
    let callers = KnownCallers { key_memory, ..KnownCallers::default() };
    let stack = Stack::start_api_for(TestSpace::create().await, AccessSettings::Known(callers)).await;
    stack.provision().await;
    stack
}

/// The first answer with a queue position, or the first 304. A busy service answers without a
/// position after half a second. Panics after a bounded wait.
pub(crate) async fn with_position(ask: impl AsyncFn() -> Answer) -> Answer {
    let asked_at = Instant::now();
    loop {
        let answer = ask().await;
        if answer.status == 304 || answer.json()["queue"].is_object() {
            return answer;
        }
        assert!(asked_at.elapsed() < Duration::from_secs(20), "no position: {}", answer.json());
    }
}

/// A caller with a key.
pub(crate) struct Caller<'stack> {
    pub(crate) stack: &'stack Stack,
    pub(crate) key: String,
}

impl<'stack> Caller<'stack> {
    /// A caller of this tenant with these scopes and all vehicles.
    pub(crate) async fn of(stack: &'stack Stack, tenant: &str, scopes: &[Scope]) -> Self {
        Self { stack, key: stack.key(tenant, scopes, AllowedVehicles::All, KeyEnd::Never).await }
    }

    /// The id of the key.
    pub(crate) fn key_id(&self) -> &str {
        self.key.rsplit_once('_').expect("a key").0
    }

    pub(crate) async fn send(
        &self,
        method: &'static str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        let mut headers = headers.to_vec();
        headers.push(("authorization", &bearer));
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.stack.request(method, path, &headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None).await
    }

    /// Posts an export that must be accepted; returns its id.
    pub(crate) async fn accepted(&self, body: &Value) -> String {
        let answer = self.send("POST", "/export", &[], Some(body)).await;
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["_id"].as_str().expect("an id").to_owned()
    }

    /// Polls until the job is in this state; returns it. Panics after a bounded wait.
    pub(crate) async fn until_state(&self, job_id: &str, state: &str) -> Value {
        for _ in 0..3_000 {
            let job = self.get(&format!("/export/{job_id}")).await.json();
            if job["state"] == state {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{job_id} does not become {state}");
    }
}
