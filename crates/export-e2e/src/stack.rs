//! The API and workers of one test.

mod starting;

pub use starting::{unhurried, wide_admission};

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use export_amqp::{Publisher, Topology};
use export_api::config::Config as ApiConfig;
use export_core::access::{AllowedVehicles, Scope};
use export_core::job::NewJob;
use export_core::key::{ApiKey, KeyName, RANDOM_BYTES};
use export_core::message::WakeUp;
use export_core::request::ExportRequest;
use export_core::{JobId, Tenant};
use export_s3::{ResultBucket, S3Server};
use export_settings::mongo::MongoSettings;
use export_settings::s3::{PayloadSigning, S3Settings};
use export_source::Catalog;
use export_store::{JobStore, KeyEnd, KeyStore, NewKey, TenantStore, WorkerRegistry, WorkerReport};
use export_testkit::http::{Answer, send};
use export_testkit::isolation::TestSpace;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::creating::create;
use crate::events::EventStream;

/// Longest wait for a job to end; a small job on real services takes well under a second.
const JOB: Duration = Duration::from_secs(90);
/// Delay of nacked messages, short so that tests of retries do not wait.
const RETRY_REST: Duration = Duration::from_millis(200);

/// The service of one test.
pub struct Stack {
    /// The test's names on the real services.
    pub space: TestSpace,
    /// `http://127.0.0.1:<port>` of the API.
    pub api_url: String,
    /// The S3 address for workers that are started from now on, if it differs from the services'.
    pub s3_endpoint_of_workers: Option<String>,
    /// The settings with which the API was started.
    api: Option<ApiConfig>,
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

impl Stack {
    /// Creates queues and indexes, as `exports provision` does.
    pub async fn provision(&self) {
        let url = self.space.services.rabbitmq_url.clone().into();
        self.topology().provision(&url).await.unwrap_or_else(|error| panic!("no queues: {error:?}"));
        self.job_store().await.provision().await.unwrap_or_else(|error| panic!("no indexes: {error:?}"));
        self.stored_catalog().await.provision().await.unwrap_or_else(|error| panic!("no catalog: {error:?}"));
    }

    /// Asks the first API whether it is ready.
    pub async fn readiness(&self) -> Answer {
        let Some(config) = &self.api else { panic!("there is no API") };
        let admin = config.admin;
        let answer = send("GET", format!("http://{admin}/readyz"), Vec::new(), Vec::new()).await;
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends a request without a body.
    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], Vec::new()).await
    }

    /// Sends `POST /export` with a JSON body.
    pub async fn post(&self, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.request("POST", "/export", &headers, body.to_string().into_bytes()).await
    }

    /// Sends any request to the API.
    pub async fn request(
        &self,
        method: &'static str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        self.request_to(&self.api_url, method, path, headers, body).await
    }

    /// Sends any request to the API at this address.
    pub async fn request_to(
        &self,
        api_url: &str,
        method: &'static str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        send(method, format!("{api_url}{path}"), headers, body)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Follows a job by its events.
    pub async fn events(&self, job_id: &str, headers: &[(&str, &str)]) -> EventStream {
        EventStream::open(&format!("{}/export/{job_id}/events", self.api_url), headers).await
    }

    /// Follows the download link of a finished job.
    pub async fn download(&self, job_id: &str) -> Vec<u8> {
        let redirect = self.get(&format!("/export/{job_id}/download")).await;
        assert_eq!(redirect.status, 303, "{redirect:?}");
        self.fetch(redirect.header("location").unwrap_or_else(|| panic!("no Location: {redirect:?}"))).await
    }

    /// Follows the link to one object of a finished job without archive. The name must not need
    /// encoding.
    pub async fn download_object(&self, job_id: &str, name: &str) -> Vec<u8> {
        let redirect = self.get(&format!("/export/{job_id}/download/{name}")).await;
        assert_eq!(redirect.status, 303, "{redirect:?}");
        self.fetch(redirect.header("location").unwrap_or_else(|| panic!("no Location: {redirect:?}"))).await
    }

    /// The content behind a link, which needs no credentials.
    pub async fn fetch(&self, link: &str) -> Vec<u8> {
        let file = send("GET", link.to_owned(), Vec::new(), Vec::new()).await;
        let file = file.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(file.status, 200, "the link does not work: {}", String::from_utf8_lossy(&file.body));
        file.body
    }

    /// Posts an export that must be accepted; returns its id.
    pub async fn accepted(&self, body: &Value) -> String {
        let answer = self.post(body).await;
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["_id"].as_str().unwrap_or_else(|| panic!("no _id: {answer:?}")).to_owned()
    }

    /// Creates a job without the API, for example one accepted under an older catalog, or for a
    /// caller with fewer vehicles. Returns its id.
    pub async fn made(&self, body: &Value, allowed_vehicles: AllowedVehicles) -> String {
        let new = NewJob {
            id: JobId::new(Uuid::now_v7()),
            tenant: Tenant::default_tenant(),
            created_by: "test".to_owned(),
            request: ExportRequest::parse(body).unwrap_or_else(|errors| panic!("no request: {errors:?}")),
            allowed_vehicles,
            priority: export_core::job::Priority::default(),
            max_attempts: 3,
            idempotency: None,
            share_key: None,
            first_warnings: export_core::warnings::Warnings::default(),
            trace_parent: None,
        };
        create(&self.job_store().await, &new).await;
        let id = new.id.to_string();
        self.publish(&id).await;
        id
    }

    /// Reports a worker that does not exist: the API takes it for alive for half a minute.
    pub async fn report_worker(&self) {
        let mongo = self.space.services.mongodb_uri.clone().into();
        let mongo = export_store::connect(&mongo, "test").await.unwrap_or_else(|error| panic!("{error}"));
        let report = WorkerReport {
            id: "test".to_owned(),
            host: String::new(),
            version: String::new(),
            slots: 2,
            running: 0,
            storage_refusal: None,
        };
        let reported = WorkerRegistry::new(&mongo, &self.space.jobs_database).report(&report).await;
        reported.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Publishes a job's message without the dispatcher.
    pub async fn publish(&self, job_id: &str) {
        let job_id = job_id.parse().unwrap_or_else(|error| panic!("{job_id}: {error}"));
        let url = self.space.services.rabbitmq_url.clone().into();
        let sent = Publisher::new(url, self.topology()).publish(WakeUp { job_id }, None).await;
        sent.unwrap_or_else(|error| panic!("not sent: {error}"));
    }

    /// Polls until the job has ended; returns it with all states on the way.
    pub async fn ended(&self, job_id: &str) -> (Value, Vec<String>) {
        self.until(job_id, |job| !matches!(job["state"].as_str(), Some("NOT_STARTED" | "STARTED"))).await
    }

    /// Polls until the job matches; returns it with all states on the way. Panics after a bounded
    /// wait.
    pub async fn until(&self, job_id: &str, is_wanted: impl Fn(&Value) -> bool) -> (Value, Vec<String>) {
        let asked_at = Instant::now();
        let mut states: Vec<String> = Vec::new();
        loop {
            let job = self.get(&format!("/export/{job_id}")).await.json();
            let state = job["state"].as_str().unwrap_or_default().to_owned();
            if states.last() != Some(&state) {
                states.push(state);
            }
            if is_wanted(&job) {
                return (job, states);
            }
            assert!(asked_at.elapsed() < JOB, "the job does not get there: {job:#}");
            // Clients poll too; the bound above is generous, so the test checks the outcome and not
            // the clock.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the catalog lists these vehicles and is trusted: requests for others are
    /// refused, and the number of vehicles is known. Panics after a bounded wait.
    pub async fn until_listed(&self, vehicles: &[String]) {
        self.until_catalog("lists the vehicles", |catalog| {
            vehicles.iter().all(|name| catalog.contains_key(name))
        })
        .await;
        let (catalog, asked_at) = (self.stored_catalog().await, Instant::now());
        while !catalog.status().await.is_ok_and(|status| status.is_trusted) {
            assert!(asked_at.elapsed() < JOB, "it does not come to this: the catalog is trusted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the catalog does not list this vehicle any more. Panics after a bounded wait.
    pub async fn until_not_listed(&self, vehicle: &str) {
        self.until_catalog("has removed the vehicle", |catalog| !catalog.contains_key(vehicle)).await;
    }

    /// Waits until the catalog covers all data that these vehicles have at the time of the call.
    /// Panics after a bounded wait.
    pub async fn until_catalogued(&self, vehicles: &[String]) {
        self.until_listed(vehicles).await;
        // A survey in progress may have seen less data; the next one sees all of it.
        for _ in 0..2 {
            let before = self.catalog().await;
            let has_looked = |catalog: &BTreeMap<String, Option<i64>>| {
                vehicles.iter().all(|name| catalog.get(name) > before.get(name))
            };
            self.until_catalog("has looked at the vehicles", has_looked).await;
        }
    }

    async fn until_catalog(&self, what: &str, is_so: impl Fn(&BTreeMap<String, Option<i64>>) -> bool) {
        let asked_at = Instant::now();
        while !is_so(&self.catalog().await) {
            assert!(asked_at.elapsed() < JOB, "it does not come to this: the catalog {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The catalog's vehicles, and when each was last surveyed.
    async fn catalog(&self) -> BTreeMap<String, Option<i64>> {
        let page = self.stored_catalog().await.page(&AllowedVehicles::All, None, None, 10_000).await;
        let page = page.unwrap_or_else(|error| panic!("no catalog: {error}"));
        page.vehicles.iter().map(|one| (one.vehicle.to_string(), one.refreshed_at_ms)).collect()
    }

    /// Asks all parts to stop, without waiting.
    pub fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Stops all parts in order and removes the test's data.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.running {
            task.await.unwrap_or_else(|error| panic!("a service ended badly: {error}"));
        }
        self.space.cleanup().await;
    }

    /// The names of this test's exchanges and queues.
    pub fn topology(&self) -> Topology {
        Topology::named(&self.space.topology).with_retry_rest(RETRY_REST)
    }

    /// The jobs of this test.
    pub async fn job_store(&self) -> JobStore {
        let settings = self.mongo();
        let client = export_store::connect(&settings.uri, "e2e").await;
        let client = client.unwrap_or_else(|error| panic!("no MongoDB client: {error}"));
        JobStore::new(&client, &settings.jobs_database)
    }

    async fn stored_catalog(&self) -> Catalog {
        let settings = self.mongo();
        let client = export_source::connect(&settings.uri, "e2e").await;
        let client = client.unwrap_or_else(|error| panic!("no MongoDB client: {error}"));
        Catalog::new(&client, &settings.jobs_database)
    }

    /// A new key of this tenant with these rights, as clients send it.
    pub async fn key(
        &self,
        tenant: &str,
        scopes: &[Scope],
        vehicles: AllowedVehicles,
        end: KeyEnd,
    ) -> String {
        let mut random = [0; RANDOM_BYTES];
        for part in random.chunks_mut(16) {
            let more = Uuid::new_v4();
            part.copy_from_slice(&more.as_bytes()[..part.len()]);
        }
        let key = ApiKey::new(&random);
        let new = NewKey {
            id: key.id().clone(),
            hash: key.hash(),
            tenant: tenant.parse().unwrap_or_else(|error| panic!("{error}")),
            name: KeyName::default(),
            scopes: scopes.to_vec(),
            vehicles,
            end,
        };
        let made = self.key_store().await.create(&new).await;
        made.unwrap_or_else(|error| panic!("no key: {error}"));
        key.reveal()
    }

    /// The keys of this test.
    pub async fn key_store(&self) -> KeyStore {
        let settings = self.mongo();
        let client = export_store::connect(&settings.uri, "e2e").await;
        let client = client.unwrap_or_else(|error| panic!("no MongoDB client: {error}"));
        KeyStore::new(&client, &settings.jobs_database)
    }

    /// The ceilings of this test's tenants.
    pub async fn tenant_store(&self) -> TenantStore {
        let settings = self.mongo();
        let client = export_store::connect(&settings.uri, "e2e").await;
        let client = client.unwrap_or_else(|error| panic!("no MongoDB client: {error}"));
        TenantStore::new(&client, &settings.jobs_database)
    }

    async fn results(&self, endpoint_url: Option<String>) -> ResultBucket {
        let services = &self.space.services;
        let server = S3Server {
            endpoint_url: endpoint_url.unwrap_or_else(|| services.s3_endpoint_url.clone()),
            access_key_id: services.s3_access_key_id.clone(),
            secret_access_key: services.s3_secret_access_key.clone().into(),
        };
        let results = ResultBucket::at(&server, self.s3()).await;
        results.unwrap_or_else(|error| panic!("no S3 client: {error}"))
    }

    fn mongo(&self) -> MongoSettings {
        MongoSettings {
            uri: self.space.services.mongodb_uri.clone().into(),
            jobs_database: self.space.jobs_database.clone(),
        }
    }

    fn s3(&self) -> S3Settings {
        S3Settings {
            bucket: self.space.bucket.clone(),
            key_prefix: "exports/".to_owned(),
            force_path_style: true,
            public_endpoint_url: None,
            payload_signing: PayloadSigning::Auto,
        }
    }
}
