//! API and worker of one test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

use export_amqp::{Publisher, Topology};
use export_api::config::{
    AccessSettings, AdmissionSettings, Config as ApiConfig, DispatchSettings, HttpSettings, JobSettings,
    LimitSettings, WebhookSettings,
};
use export_api::sharing::Sharing;
use export_core::access::{AllowedVehicles, Scope};
use export_core::job::{NewJob, RetryPolicy};
use export_core::key::{ApiKey, KeyName, RANDOM_BYTES};
use export_core::message::WakeUp;
use export_core::request::ExportRequest;
use export_core::{JobId, Tenant};
use export_engine::MemoryBudget;
use export_mongo::{Catalog, JobStore, KeyEnd, KeyStore, NewKey, ReadLimits};
use export_s3::{ResultBucket, S3Server};
use export_settings::mongo::{MongoSettings, SourceSettings};
use export_settings::s3::{PayloadSigning, S3Settings};
use export_testkit::isolation::TestSpace;
use export_worker::config::Config as WorkerConfig;
use export_worker::niceness::Niceness;
use export_worker::worker::Terms;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::events::EventStream;
use crate::http::{Answer, send};

/// Longest wait for a job to end; on real services a small one takes well under a second.
const JOB: Duration = Duration::from_secs(90);
/// Rest of nacked messages, short so that tests of retries do not wait.
const RETRY_REST: Duration = Duration::from_millis(200);
/// Waits of failing jobs, short for the same reason.
const RETRY: RetryPolicy = RetryPolicy { first_wait_ms: 50, longest_wait_ms: 100 };
/// Time between two looks at the list of vehicles, short so that tests do not wait for new ones.
const CATALOG_REFRESH: Duration = Duration::from_millis(200);

/// How the API of a test is other than usual.
struct ApiTerms {
    max_attempts: u32,
    access: AccessSettings,
    limits: LimitSettings,
    dispatch: DispatchSettings,
    webhooks: Option<WebhookSettings>,
    admission: AdmissionSettings,
    sharing: Sharing,
}

impl Default for ApiTerms {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            access: AccessSettings::Anyone,
            limits: unhurried(),
            dispatch: DispatchSettings::DEFAULT,
            webhooks: None,
            admission: AdmissionSettings::WIDEST,
            sharing: Sharing::Off,
        }
    }
}

/// The service of one test.
pub struct Stack {
    /// The test's corner of the real services.
    pub space: TestSpace,
    /// `http://127.0.0.1:<port>` of the API.
    pub api_url: String,
    /// Where workers started from now on find S3, when not where the services are.
    pub s3_endpoint_of_workers: Option<String>,
    /// What the API was started with.
    api: Option<ApiConfig>,
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

impl Stack {
    /// A running API and worker on provisioned services.
    pub async fn start() -> Self {
        let mut stack = Self::start_api(TestSpace::create().await).await;
        stack.provision().await;
        stack.start_worker().await;
        stack
    }

    /// A running API only, on services where nothing was provisioned but the bucket.
    pub async fn start_api(space: TestSpace) -> Self {
        Self::start_api_with(space, 3).await
    }

    /// The whole service, which sends webhooks in this way.
    pub async fn start_with_webhooks(webhooks: WebhookSettings) -> Self {
        let mut stack = Self::start_api_with_webhooks(TestSpace::create().await, webhooks).await;
        stack.provision().await;
        stack.start_worker().await;
        stack
    }

    /// A running API only, whose jobs may have this many attempts.
    pub async fn start_api_with(space: TestSpace, max_attempts: u32) -> Self {
        Box::pin(Self::start_api_of(space, ApiTerms { max_attempts, ..ApiTerms::default() })).await
    }

    /// A running API only, with limits of the test's own.
    pub async fn start_api_within(space: TestSpace, limits: LimitSettings) -> Self {
        Box::pin(Self::start_api_of(space, ApiTerms { limits, ..ApiTerms::default() })).await
    }

    /// A running API only, which lets so many exports of a tenant run.
    pub async fn start_api_with_running(space: TestSpace, max_running_per_tenant: NonZeroU32) -> Self {
        let dispatch = DispatchSettings { max_running_per_tenant };
        Box::pin(Self::start_api_of(space, ApiTerms { dispatch, ..ApiTerms::default() })).await
    }

    /// A running API only, which sends webhooks in this way.
    pub async fn start_api_with_webhooks(space: TestSpace, webhooks: WebhookSettings) -> Self {
        Box::pin(Self::start_api_of(space, ApiTerms { webhooks: Some(webhooks), ..ApiTerms::default() }))
            .await
    }

    /// A running API only, that lets these callers in.
    pub async fn start_api_for(space: TestSpace, access: AccessSettings) -> Self {
        Box::pin(Self::start_api_of(space, ApiTerms { access, ..ApiTerms::default() })).await
    }

    /// A running API only, that lets these callers in, and no more and no larger jobs than this.
    pub async fn start_api_admitting(
        space: TestSpace,
        access: AccessSettings,
        admission: AdmissionSettings,
    ) -> Self {
        let terms = ApiTerms { access, admission, ..ApiTerms::default() };
        Box::pin(Self::start_api_of(space, terms)).await
    }

    /// A running API only, whose jobs share results. (The others' do not: most tests ask for the same again and again.)
    pub async fn start_api_that_shares(space: TestSpace) -> Self {
        Self::start_api_that_shares_for(space, AccessSettings::Anyone, None).await
    }

    /// The same, that lets these callers in and sends webhooks in this way.
    pub async fn start_api_that_shares_for(
        space: TestSpace,
        access: AccessSettings,
        webhooks: Option<WebhookSettings>,
    ) -> Self {
        let terms = ApiTerms { sharing: Sharing::On, access, webhooks, ..ApiTerms::default() };
        Box::pin(Self::start_api_of(space, terms)).await
    }

    async fn start_api_of(space: TestSpace, terms: ApiTerms) -> Self {
        let ApiTerms { max_attempts, access, limits, dispatch, webhooks, admission, sharing } = terms;
        let mut stack = Self {
            space,
            api_url: String::new(),
            s3_endpoint_of_workers: None,
            api: None,
            stop: CancellationToken::new(),
            running: Vec::new(),
        };
        let (api, admin) = (local_listener().await, local_listener().await);
        stack.api_url = format!("http://{}", address(&api));
        let config = ApiConfig {
            http: HttpSettings {
                listen: address(&api),
                admin: address(&admin),
                public_base_url: String::new(),
            },
            access,
            limits,
            admission,
            jobs: JobSettings {
                max_attempts: NonZeroU32::new(max_attempts).expect("not zero"),
                queue_age: Duration::from_mins(10),
                retry: RETRY,
            },
            dispatch,
            webhooks,
            sharing,
            mongo: stack.mongo(),
            rabbitmq_url: stack.space.services.rabbitmq_url.clone().into(),
            s3: stack.s3(),
            topology: stack.topology(),
        };
        stack.api = Some(config.clone());
        let app = Box::pin(export_api::app::App::build(&config, stack.results(None).await)).await;
        let app = app.unwrap_or_else(|error| panic!("the API cannot be built: {error:#}"));
        let stop = stack.stop.clone();
        stack.running.push(tokio::spawn(async move {
            app.serve(api, admin, stop).await.unwrap_or_else(|error| panic!("the API failed: {error:#}"));
        }));
        stack
    }

    /// Starts one more API with the settings of the first, with another MongoDB address if one is given; returns its address.
    pub async fn start_another_api(&mut self, mongodb_uri: Option<String>) -> String {
        let (api, admin) = (local_listener().await, local_listener().await);
        let mut config = self.api.clone().unwrap_or_else(|| panic!("there is no first API"));
        (config.http.listen, config.http.admin) = (address(&api), address(&admin));
        config.mongo.uri = mongodb_uri.map_or(config.mongo.uri, Into::into);
        let url = format!("http://{}", address(&api));
        let app = export_api::app::App::build(&config, self.results(None).await).await;
        let app = app.unwrap_or_else(|error| panic!("the API cannot be built: {error:#}"));
        let stop = self.stop.clone();
        self.running.push(tokio::spawn(async move {
            app.serve(api, admin, stop).await.unwrap_or_else(|error| panic!("the API failed: {error:#}"));
        }));
        url
    }

    /// Makes queues and indexes, as `exports provision` does.
    pub async fn provision(&self) {
        let url = self.space.services.rabbitmq_url.clone().into();
        self.topology().provision(&url).await.unwrap_or_else(|error| panic!("no queues: {error:?}"));
        self.job_store().await.provision().await.unwrap_or_else(|error| panic!("no indexes: {error:?}"));
    }

    /// Starts one more worker.
    pub async fn start_worker(&mut self) {
        // A test holds many of these: each is small where its parts are elsewhere.
        Box::pin(self.start_one_worker()).await;
    }

    async fn start_one_worker(&mut self) {
        let admin = local_listener().await;
        let config = WorkerConfig {
            concurrency: NonZeroU16::new(2).expect("not zero"),
            max_running_exports: NonZeroU32::new(16).expect("not zero"),
            budget: MemoryBudget::shared_by(
                MemoryBudget::DEFAULT_MIB << 20,
                NonZeroUsize::new(2).expect("not zero"),
            ),
            threads: NonZeroUsize::new(2).expect("not zero"),
            admin: address(&admin),
            mongo: self.mongo(),
            source: SourceSettings { uri: None, vehicle_database_prefix: self.space.vehicle_prefix.clone() },
            reading: ReadLimits::default(),
            niceness: Niceness::NONE,
            rabbitmq_url: self.space.services.rabbitmq_url.clone().into(),
            s3: self.s3(),
            topology: self.topology(),
            terms: Terms {
                lease: Duration::from_secs(30),
                deadline: Duration::from_mins(5),
                retry: RETRY,
                retention: Duration::from_hours(24),
            },
            grace: Duration::from_secs(1),
            catalog_refresh: CATALOG_REFRESH,
        };
        let owner = format!("worker-{}", self.running.len());
        let results = self.results(self.s3_endpoint_of_workers.clone()).await;
        let app = Box::pin(export_worker::app::App::build(&config, results, owner)).await;
        let app = app.unwrap_or_else(|error| panic!("the worker cannot be built: {error:#}"));
        let stop = self.stop.clone();
        self.running.push(tokio::spawn(async move {
            app.run(admin, stop).await.unwrap_or_else(|error| panic!("the worker failed: {error:#}"));
        }));
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
        send(method, format!("{api_url}{path}"), headers, body).await
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

    /// Follows the link to one object of a finished job without archive. The name must need no encoding.
    pub async fn download_object(&self, job_id: &str, name: &str) -> Vec<u8> {
        let redirect = self.get(&format!("/export/{job_id}/download/{name}")).await;
        assert_eq!(redirect.status, 303, "{redirect:?}");
        self.fetch(redirect.header("location").unwrap_or_else(|| panic!("no Location: {redirect:?}"))).await
    }

    /// What is behind a link, which needs nothing but itself.
    pub async fn fetch(&self, link: &str) -> Vec<u8> {
        let file = send("GET", link.to_owned(), Vec::new(), Vec::new()).await;
        assert_eq!(file.status, 200, "the link does not work: {}", String::from_utf8_lossy(&file.body));
        file.body
    }

    /// Posts an export that must be accepted; returns its id.
    pub async fn accepted(&self, body: &Value) -> String {
        let answer = self.post(body).await;
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["_id"].as_str().unwrap_or_else(|| panic!("no _id: {answer:?}")).to_owned()
    }

    /// Makes a job past the API, as one that was accepted when the catalog told something else, or for a caller with fewer vehicles; its id.
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
            trace_parent: None,
        };
        let created = self.job_store().await.create(&new).await;
        created.unwrap_or_else(|error| panic!("no job: {error}"));
        let url = self.space.services.rabbitmq_url.clone().into();
        let sent = Publisher::new(url, self.topology()).publish(WakeUp { job_id: new.id }, None).await;
        sent.unwrap_or_else(|error| panic!("not sent: {error}"));
        new.id.to_string()
    }

    /// Asks until the job has ended; returns it with every state that was seen on the way.
    pub async fn ended(&self, job_id: &str) -> (Value, Vec<String>) {
        self.until(job_id, |job| !matches!(job["state"].as_str(), Some("NOT_STARTED" | "STARTED"))).await
    }

    /// Asks until the job is as wanted; returns it with every state that was seen on the way. Panics after a bounded wait.
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
            // Polling is what clients do; the bound above makes it a test of the outcome, not of the clock.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the catalog lists these vehicles: a request that names others is refused. Panics after a bounded wait.
    pub async fn until_listed(&self, vehicles: &[String]) {
        self.until_catalog("lists the vehicles", |catalog| {
            vehicles.iter().all(|name| catalog.contains_key(name))
        })
        .await;
    }

    /// Waits until the catalog knows what these vehicles have had when this was called. Panics after a bounded wait.
    pub async fn until_catalogued(&self, vehicles: &[String]) {
        self.until_listed(vehicles).await;
        // A look that is under way may have seen less; the one after it has not.
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

    /// The catalog's vehicles, and when each was last looked at.
    async fn catalog(&self) -> BTreeMap<String, Option<i64>> {
        let settings = self.mongo();
        let client = export_mongo::connect(&settings.uri, "e2e").await;
        let client = client.unwrap_or_else(|error| panic!("no MongoDB client: {error}"));
        let catalog = Catalog::new(&client, &settings.jobs_database);
        let page = catalog.page(&AllowedVehicles::All, None, None, 10_000).await;
        let page = page.unwrap_or_else(|error| panic!("no catalog: {error}"));
        page.vehicles.iter().map(|one| (one.vehicle.to_string(), one.refreshed_at_ms)).collect()
    }

    /// Asks everything to stop, and waits for nothing.
    pub fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Stops everything in order and removes what the test made.
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
        let client = export_mongo::connect(&settings.uri, "e2e").await;
        let client = client.unwrap_or_else(|error| panic!("no MongoDB client: {error}"));
        JobStore::new(&client, &settings.jobs_database)
    }

    /// A new key of this tenant, with these rights, to be sent as it is.
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
        let client = export_mongo::connect(&settings.uri, "e2e").await;
        let client = client.unwrap_or_else(|error| panic!("no MongoDB client: {error}"));
        KeyStore::new(&client, &settings.jobs_database)
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

/// Tests send more from one address than people do.
fn unhurried() -> LimitSettings {
    const PLENTY: NonZeroU32 = NonZeroU32::new(100_000).expect("not zero");
    LimitSettings {
        max_requests: PLENTY,
        max_requests_per_caller: PLENTY,
        max_streams_per_caller: PLENTY,
        requests_per_second: PLENTY,
        requests_at_once: PLENTY,
        auth_failures_at_once: PLENTY,
        ..LimitSettings::DEFAULT
    }
}

async fn local_listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("no free port: {error}"))
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"))
}
