//! The API and workers as processes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use export_testkit::http::{Answer, send};
use export_testkit::program::{Ended, Program, Running};
use serde_json::Value;

use crate::deployment::Deployment;
use crate::half_request::HalfRequest;
use crate::links::Links;

/// Limits that tests exceed, because all requests come from one address; raised unless a test is
/// about them.
const LIMITS: [&str; 8] = [
    "MAX_CONNECTIONS_PER_ADDRESS",
    "REQUESTS_PER_SECOND",
    "REQUESTS_AT_ONCE",
    "MAX_REQUESTS",
    "MAX_REQUESTS_PER_CALLER",
    "MAX_QUEUED_PER_TENANT",
    "MAX_QUEUED",
    "MAX_JOBS_PER_HOUR_PER_TENANT",
];

/// The lease of [`Deployment::hasty`]. A process of a busy machine can be without a processor for
/// seconds, and must not lose its job by that.
pub const SHORT_LEASE: Duration = Duration::from_secs(8);
/// The other settings of [`Deployment::hasty`].
const HASTY: [(&str, &str); 2] = [("RETRY_FIRST_WAIT_MS", "100"), ("RETRY_LONGEST_WAIT_MS", "500")];

/// A process with its links. Dropping it kills it; after a panic its output is printed.
pub struct Service {
    /// Its connections to the services.
    pub links: Links,
    name: &'static str,
    running: Running,
}

/// An API.
pub struct Api {
    service: Service,
    address: SocketAddr,
    admin_address: SocketAddr,
}

/// A worker.
pub struct Worker {
    service: Service,
}

/// How to start a process of a deployment.
pub struct Start<'deployment> {
    deployment: &'deployment Deployment,
    settings: BTreeMap<String, String>,
    links: Option<Links>,
    change: Option<Box<dyn FnOnce(Program) -> Program + Send + 'deployment>>,
}

impl Deployment {
    /// An API with default settings.
    pub async fn api(&self) -> Api {
        Start::new(self).api().await
    }

    /// A worker with default settings.
    pub async fn worker(&self) -> Worker {
        Start::new(self).worker().await
    }

    /// Configures a process with this setting; finish with [`Start::api`] or [`Start::worker`].
    pub fn with(&self, name: &str, value: &str) -> Start<'_> {
        Start::new(self).with(name, value)
    }

    /// Configures a process with a short lease and short retry delays, for tests that wait for
    /// them.
    pub fn hasty(&self) -> Start<'_> {
        let start = Start::new(self).with("LEASE_SECONDS", &SHORT_LEASE.as_secs().to_string());
        HASTY.iter().fold(start, |start, (name, value)| start.with(name, value))
    }

    /// Configures a process with these links.
    pub fn over(&self, links: Links) -> Start<'_> {
        Start::new(self).over(links)
    }
}

impl<'deployment> Start<'deployment> {
    fn new(deployment: &'deployment Deployment) -> Self {
        Self { deployment, settings: BTreeMap::new(), links: None, change: None }
    }

    /// Adds this setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With these links, so that faults can be in place before it starts.
    #[must_use]
    pub fn over(mut self, links: Links) -> Self {
        self.links = Some(links);
        self
    }

    /// With a change to the program itself: a wrong clock, a memory limit.
    #[must_use]
    pub fn changed(mut self, change: impl FnOnce(Program) -> Program + Send + 'deployment) -> Self {
        self.change = Some(Box::new(change));
        self
    }

    /// Starts an API and waits until it listens. Panics when it does not.
    pub async fn api(self) -> Api {
        let mut start = self.with("HOST", "127.0.0.1").with("PORT", "0").with("AUTH", "none");
        // Tests post the same request repeatedly.
        start.settings.entry("SHARE_RESULTS".to_owned()).or_insert_with(|| "off".to_owned());
        for limit in LIMITS {
            start.settings.entry(limit.to_owned()).or_insert_with(|| "100000".to_owned());
        }
        let mut service = start.service("exports-api").await;
        service.running.until_written("\"listening\"");
        Api { address: service.logged("address"), admin_address: service.logged("admin.address"), service }
    }

    /// Starts a worker; it may not be consuming yet.
    pub async fn worker(self) -> Worker {
        Worker { service: self.service("exports-worker").await }
    }

    async fn service(self, name: &'static str) -> Service {
        let links = match self.links {
            Some(links) => links,
            None => self.deployment.links().await,
        };
        let mut program = self.deployment.program(name, &[], &links);
        for (name, value) in &self.settings {
            program = program.with(name, value);
        }
        if let Some(change) = self.change {
            program = change(program);
        }
        Service { running: program.start(), links, name }
    }
}

impl Api {
    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends a request; `Err` is the reason why there is no answer.
    pub async fn request(
        &self,
        method: &'static str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        send(method, format!("{}{path}", self.url()), headers, body).await
    }

    /// Sends a request without a body. Panics when there is no answer.
    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], Vec::new()).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Its readiness. Panics when there is no answer.
    pub async fn readiness(&self) -> Answer {
        readiness(self.admin_address).await
    }

    /// Sends `POST /export`; `Err` is the reason why there is no answer.
    pub async fn try_post(&self, body: &Value) -> Result<Answer, String> {
        let headers = [("content-type", "application/json")];
        self.request("POST", "/export", &headers, body.to_string().into_bytes()).await
    }

    /// Sends `POST /export`. Panics when there is no answer.
    pub async fn post(&self, body: &Value) -> Answer {
        self.try_post(body).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Posts an export that must be accepted; returns its id.
    pub async fn accepted(&self, body: &Value) -> String {
        let answer = self.post(body).await;
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["_id"].as_str().unwrap_or_else(|| panic!("no _id: {answer:?}")).to_owned()
    }

    /// A `POST /export` of which nothing is sent yet.
    pub async fn half_post(&self, body: &Value) -> HalfRequest {
        HalfRequest::post(self.address, body).await
    }
}

impl Worker {
    /// Its readiness. Panics when there is no answer.
    pub async fn readiness(&self) -> Answer {
        readiness(self.logged("admin.address")).await
    }
}

/// The answer of `GET /readyz`. Panics when there is none.
async fn readiness(admin_address: SocketAddr) -> Answer {
    let url = format!("http://{admin_address}/readyz");
    send("GET", url, Vec::new(), Vec::new()).await.unwrap_or_else(|error| panic!("{error}"))
}

impl Service {
    /// An address that it logs when it listens. Panics when it has not logged one yet.
    fn logged(&self, name: &str) -> SocketAddr {
        let output = self.running.output();
        let line = output.lines().find(|line| line.contains("\"listening\""));
        let line: Option<Value> = line.and_then(|line| serde_json::from_str(line).ok());
        let address = line.as_ref().and_then(|line| {
            let address = line.get(name).or_else(|| line.get("fields")?.get(name))?;
            address.as_str()?.parse().ok()
        });
        address.unwrap_or_else(|| panic!("the {} does not log its {name}: {output}", self.name))
    }

    /// Sends SIGTERM and waits for the exit. Panics when the process does not exit in time.
    pub fn stop(&mut self) -> Ended {
        let asked_at = self.running.ask_to_end();
        self.running.until_ended(asked_at)
    }
}

impl Deref for Service {
    type Target = Running;
    fn deref(&self) -> &Running {
        &self.running
    }
}

impl DerefMut for Service {
    fn deref_mut(&mut self) -> &mut Running {
        &mut self.running
    }
}

impl Deref for Api {
    type Target = Service;
    fn deref(&self) -> &Service {
        &self.service
    }
}

impl DerefMut for Api {
    fn deref_mut(&mut self) -> &mut Service {
        &mut self.service
    }
}

impl Deref for Worker {
    type Target = Service;
    fn deref(&self) -> &Service {
        &self.service
    }
}

impl DerefMut for Worker {
    fn deref_mut(&mut self) -> &mut Service {
        &mut self.service
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the test has failed, and this is why")]
            {
                eprintln!(
                    "--- {} (process {}) wrote:\n{}",
                    self.name,
                    self.running.id(),
                    self.running.output()
                );
            }
        }
    }
}
