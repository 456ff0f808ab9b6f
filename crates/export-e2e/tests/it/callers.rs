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

/// Time for which an answer waits for the queue position, as in `export_api::jobs::queue`.
pub(crate) const POSITION_WAIT: Duration = Duration::from_millis(500);

/// Whether the answer has a queue position.
pub(crate) fn has_position(answer: &Answer) -> bool {
    answer.json()["queue"]["position"].is_u64()
}

/// Whether the answer has no queue position because a busy service could not read it in time. An
/// answer that comes sooner must have one.
pub(crate) fn is_without_position_by_time(answer: &Answer) -> bool {
    answer.status == 200 && answer.json()["queue"].is_null() && answer.took >= POSITION_WAIT
}

/// The first answer, except answers that lack a queue position because of their time. Panics after a bounded
/// wait.
pub(crate) async fn with_position(ask: impl AsyncFn() -> Answer) -> Answer {
    let asked_at = Instant::now();
    loop {
        let answer = ask().await;
        if !is_without_position_by_time(&answer) {
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
