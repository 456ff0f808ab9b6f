//! Starts the API and the workers of a test.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use export_api::config::{
    AccessSettings, AdmissionSettings, Config as ApiConfig, HttpSettings, JobSettings, LimitSettings,
    SizeSettings, WebhookSettings,
};
use export_core::admission::DEFAULT_MAX_RESULT_ROWS;
use export_core::job::RetryPolicy;
use export_engine::{MemoryBudget, ResultLimits};
use export_settings::defaults;
use export_settings::mongo::SourceSettings;
use export_settings::networks::Networks;
use export_settings::results::ResultRowsSettings;
use export_settings::retry::RetrySettings;
use export_settings::worker::WorkerSettings;
use export_source::ReadLimits;
use export_testkit::isolation::TestSpace;
use export_worker::attempt::Terms;
use export_worker::config::Config as WorkerConfig;
use export_worker::export::ExportSize;
use export_worker::niceness::Niceness;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Stack;

/// Retry delays of failed jobs, short so that tests of retries do not wait.
const RETRY: RetryPolicy = RetryPolicy { first_wait_ms: 50, longest_wait_ms: 100 };
/// Time between two reads of the list of vehicles, short so that tests do not wait for new ones.
const CATALOG_REFRESH: Duration = Duration::from_millis(200);

/// How the API of a test differs from the usual one.
struct ApiTerms {
    max_attempts: u32,
    access: AccessSettings,
    limits: LimitSettings,
    webhooks: Option<WebhookSettings>,
    admission: AdmissionSettings,
    share_results: bool,
    trusted_proxies: Option<Networks>,
}

impl Default for ApiTerms {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            access: AccessSettings::Anyone,
            limits: unhurried(),
            webhooks: None,
            admission: wide_admission(),
            share_results: false,
            trusted_proxies: None,
        }
    }
}

impl Stack {
    /// A running API and worker on provisioned services.
    pub async fn start() -> Self {
        let mut stack = Self::start_api(TestSpace::create().await).await;
        stack.provision().await;
        stack.start_worker().await;
        stack
    }

    /// A running API only; of the services, nothing but the bucket is provisioned.
    pub async fn start_api(space: TestSpace) -> Self {
        Self::start_api_with(space, 3).await
    }

    /// The whole service, which sends webhooks with these settings.
    pub async fn start_with_webhooks(webhooks: WebhookSettings) -> Self {
        let mut stack = Self::start_api_with_webhooks(TestSpace::create().await, webhooks).await;
        stack.provision().await;
        stack.start_worker().await;
        stack
    }

    /// A running API only, whose jobs have this many attempts.
    pub async fn start_api_with(space: TestSpace, max_attempts: u32) -> Self {
        Box::pin(Self::start_api_of(space, ApiTerms { max_attempts, ..ApiTerms::default() })).await
    }

    /// A running API only, with the given limits.
    pub async fn start_api_within(space: TestSpace, limits: LimitSettings) -> Self {
        Box::pin(Self::start_api_of(space, ApiTerms { limits, ..ApiTerms::default() })).await
    }

    /// A running API only, which accepts these callers within these limits, behind proxies in
    /// these networks.
    pub async fn start_api_behind(
        space: TestSpace,
        access: AccessSettings,
        limits: LimitSettings,
        trusted_proxies: Option<Networks>,
    ) -> Self {
        let terms = ApiTerms { access, limits, trusted_proxies, ..ApiTerms::default() };
        Box::pin(Self::start_api_of(space, terms)).await
    }

    /// A running API only, which sends webhooks with these settings.
    pub async fn start_api_with_webhooks(space: TestSpace, webhooks: WebhookSettings) -> Self {
        Box::pin(Self::start_api_of(space, ApiTerms { webhooks: Some(webhooks), ..ApiTerms::default() }))
            .await
    }

    /// A running API only, which accepts these callers.
    pub async fn start_api_for(space: TestSpace, access: AccessSettings) -> Self {
        Box::pin(Self::start_api_of(space, ApiTerms { access, ..ApiTerms::default() })).await
    }

    /// A running API only, which accepts these callers, and limits the number and the size of jobs.
    pub async fn start_api_admitting(
        space: TestSpace,
        access: AccessSettings,
        admission: AdmissionSettings,
    ) -> Self {
        let terms = ApiTerms { access, admission, ..ApiTerms::default() };
        Box::pin(Self::start_api_of(space, terms)).await
    }

    /// A running API only, which accepts these callers, within the given limits.
    pub async fn start_api_for_within(
        space: TestSpace,
        access: AccessSettings,
        limits: LimitSettings,
    ) -> Self {
        Box::pin(Self::start_api_of(space, ApiTerms { access, limits, ..ApiTerms::default() })).await
    }

    /// A running API only, whose jobs share results. (Other tests do not share, because most repeat
    /// the same request.)
    pub async fn start_api_that_shares(space: TestSpace) -> Self {
        Self::start_api_that_shares_for(space, AccessSettings::Anyone, None).await
    }

    /// Like [`Self::start_api_that_shares`], accepts these callers and sends webhooks with these
    /// settings.
    pub async fn start_api_that_shares_for(
        space: TestSpace,
        access: AccessSettings,
        webhooks: Option<WebhookSettings>,
    ) -> Self {
        let terms = ApiTerms { share_results: true, access, webhooks, ..ApiTerms::default() };
        Box::pin(Self::start_api_of(space, terms)).await
    }

    async fn start_api_of(space: TestSpace, terms: ApiTerms) -> Self {
        let ApiTerms { max_attempts, access, limits, webhooks, admission, share_results, trusted_proxies } =
            terms;
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
                host: address(&api).ip(),
                port: address(&api).port(),
                trusted_proxies,
                ..defaults()
            },
            admin: address(&admin),
            access,
            limits,
            admission,
            jobs: JobSettings {
                share_results,
                max_attempts: NonZeroU32::new(max_attempts).expect("not zero"),
                queue_age: Duration::from_mins(10),
                retry: RetrySettings {
                    retry_first_wait_ms: RETRY.first_wait_ms,
                    retry_longest_wait_ms: RETRY.longest_wait_ms,
                },
            },
            dispatch: defaults(),
            webhooks,
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

    /// Starts one more API with the settings of the first, with another MongoDB address if one is
    /// given; returns its address.
    pub async fn start_another_api(&mut self, mongodb_uri: Option<String>) -> String {
        let (api, admin) = (local_listener().await, local_listener().await);
        let mut config = self.api.clone().unwrap_or_else(|| panic!("there is no first API"));
        (config.http.host, config.http.port) = (address(&api).ip(), address(&api).port());
        config.admin = address(&admin);
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

    /// Starts one more worker.
    pub async fn start_worker(&mut self) {
        // A test runs many of these; each is small if its other parts run elsewhere.
        Box::pin(self.start_one_worker()).await;
    }

    async fn start_one_worker(&mut self) {
        let admin = local_listener().await;
        let config = WorkerConfig {
            worker: WorkerSettings { catalog_refresh_seconds: CATALOG_REFRESH, ..defaults() },
            budget: MemoryBudget::shared_by(
                MemoryBudget::DEFAULT_MIB << 20,
                NonZeroUsize::new(2).expect("not zero"),
            ),
            threads: NonZeroUsize::new(2).expect("not zero"),
            admin: address(&admin),
            mongo: self.mongo(),
            source: SourceSettings { uri: None, vehicle_database_prefix: self.space.vehicle_prefix.clone() },
            reading: ReadLimits::default(),
            size: ExportSize { max_columns: 1_000, result: ResultLimits::default() },
            niceness: Niceness::NONE,
            rabbitmq_url: self.space.services.rabbitmq_url.clone().into(),
            s3: self.s3(),
            topology: self.topology(),
            terms: Terms {
                lease: Duration::from_secs(30),
                deadline: Duration::from_mins(5),
                retry: RETRY,
                patience: Duration::from_hours(24),
                retention: Duration::from_hours(24),
            },
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
}

/// Tests send more requests from one address than people do.
pub fn unhurried() -> LimitSettings {
    const PLENTY: NonZeroU32 = NonZeroU32::new(100_000).expect("not zero");
    LimitSettings {
        max_connections_per_address: PLENTY,
        max_requests: PLENTY,
        max_requests_per_caller: PLENTY,
        max_streams_per_caller: PLENTY,
        requests_per_second: PLENTY,
        requests_at_once: PLENTY,
        auth_failures_at_once: PLENTY,
        ..defaults()
    }
}

/// Limits that tests of other features never reach: as wide as the settings allow.
pub fn wide_admission() -> AdmissionSettings {
    const MAX: NonZeroU32 = NonZeroU32::new(1_000_000).expect("not zero");
    AdmissionSettings {
        max_queued_per_tenant: MAX,
        max_queued: MAX,
        max_jobs_per_hour_per_tenant: MAX,
        max_stored_bytes_per_tenant: None,
        size: SizeSettings {
            max_range_days: 3_652_059,
            max_vehicles_per_export: MAX.get(),
            interactive_vehicle_days: 7,
            rows: ResultRowsSettings {
                max_result_rows: NonZeroU64::new(DEFAULT_MAX_RESULT_ROWS).unwrap_or(NonZeroU64::MAX),
            },
        },
    }
}

async fn local_listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("no free port: {error}"))
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"))
}
