//! The running service: all parts wired together. Listeners and stop signal are passed in.

use std::time::Duration;

use anyhow::Context;
use export_amqp::Publisher;
use export_observability::{Readiness, init_metrics, serve_health};
use export_s3::ResultBucket;
use export_source::Catalog;
use export_store::{AuditLog, Changes, JobStore, KeyStore, TenantStore, WorkerRegistry};
use export_webhooks::Webhooks;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::auth::Authenticator;
use crate::config::{AccessSettings, Config};
use crate::http::client_address::TrustedProxies;
use crate::http::failures::Failures;
use crate::http::hosts::OwnHosts;
use crate::http::limits::Limits;
use crate::http::meters;
use crate::http::server::{self, ServerSettings};
use crate::jobs::accepting::Acceptor;
use crate::jobs::admission::Admission;
use crate::jobs::audit::Audit;
use crate::jobs::link_cache::LinkCache;
use crate::jobs::queue::Queue;
use crate::routes::router;
use crate::state::ApiState;
use crate::tasks::dispatcher::Dispatcher;
use crate::tasks::grace_after;
use crate::tasks::relay::{Relay, WebhookRelay};
use crate::tasks::supervised::Supervised;
use crate::tasks::sweeper::Sweeper;
use crate::tasks::worker_watch::WorkerWatch;

/// Interval of the readiness checks of MongoDB and RabbitMQ.
const READINESS_INTERVAL: Duration = Duration::from_secs(5);

/// Maximum time that open requests may continue after the stop signal: below Docker's default of
/// ten seconds.
const GRACE: Duration = Duration::from_secs(8);

/// The service, ready to listen.
#[derive(Debug)]
pub struct App {
    state: ApiState,
    dispatcher: Dispatcher,
    sweeper: Sweeper,
    worker_watch: WorkerWatch,
    relay: Relay,
    mongo: export_store::MongoClient,
    publisher: Publisher,
    server: ServerSettings,
}

impl App {
    /// Prepares all clients without connecting. Services that are unavailable are retried while
    /// serving.
    ///
    /// # Errors
    /// If a setting cannot be used, for example the MongoDB connection string.
    pub async fn build(config: &Config, results: ResultBucket) -> anyhow::Result<Self> {
        init_metrics();
        meters::describe();
        let mongo = export_store::connect(&config.mongo.uri, "exports-api")
            .await
            .context("MONGODB_URI cannot be used")?;
        let jobs = JobStore::new(&mongo, &config.mongo.jobs_database);
        let webhooks = config.webhooks.clone().map(|settings| Webhooks::new(settings.sending)).transpose()?;
        let changes = Changes::of(&jobs);
        let publisher = Publisher::new(config.rabbitmq_url.clone(), config.topology.clone());
        let max_running_per_tenant = usize::try_from(config.dispatch.max_running_per_tenant.get())?;
        let max_running = usize::try_from(config.dispatch.running.max_running_exports.get())?;
        let dispatcher = Dispatcher::new(
            jobs.clone(),
            changes.clone(),
            publisher.clone(),
            max_running_per_tenant,
            max_running,
        );
        let workers = WorkerRegistry::new(&mongo, &config.mongo.jobs_database);
        let queue = Queue::of(&jobs, &workers);
        let catalog = Catalog::new(&mongo, &config.mongo.jobs_database);
        let has_keys = !matches!(config.access, AccessSettings::Anyone);
        let state = ApiState {
            admission: Admission::new(config.admission, jobs.clone(), catalog.clone(), queue.clone()),
            queue,
            acceptor: Acceptor::start(&jobs),
            changes,
            jobs,
            dispatcher: dispatcher.waker(),
            catalog,
            results,
            links: LinkCache::default(),
            webhooks,
            auth: Authenticator::new(
                &config.access,
                KeyStore::new(&mongo, &config.mongo.jobs_database),
                TenantStore::new(&mongo, &config.mongo.jobs_database),
            )
            .context("tokens of OIDC_ISSUER cannot be checked")?,
            audit: Audit::new(AuditLog::start(&mongo, &config.mongo.jobs_database)),
            own_hosts: (!has_keys).then(|| OwnHosts::new(&config.http)),
            failures: Failures::new(&config.limits),
            limits: Limits::new(&config.limits, &config.access),
            share_results: config.jobs.share_results,
            max_attempts: config.jobs.max_attempts,
            public_base_url: config.http.public_base_url.clone().unwrap_or_default(),
        };
        let sweeper = Sweeper {
            jobs: state.jobs.clone(),
            publisher: publisher.clone(),
            policy: config.jobs.retry.into(),
            queue_age: config.jobs.queue_age,
        };
        let worker_watch = WorkerWatch { jobs: state.jobs.clone(), workers };
        let relay = Relay {
            outbox: state.jobs.outbox(),
            publisher: Publisher::new(config.rabbitmq_url.clone(), config.topology.clone()),
            webhooks: state.webhooks.clone().zip(config.webhooks.as_ref()).map(|(webhooks, settings)| {
                WebhookRelay { webhooks, retry: settings.retry, give_up_after: settings.give_up_after }
            }),
        };
        let trusted_proxies = config.http.trusted_proxies.clone().unwrap_or_default();
        let server = ServerSettings {
            limits: config.limits,
            trusted_proxies: TrustedProxies::new(trusted_proxies),
            has_keys,
        };
        Ok(Self { state, dispatcher, sweeper, worker_watch, relay, mongo, publisher, server })
    }

    /// Serves until `stop`, then finishes the open requests.
    ///
    /// # Errors
    /// If a supervised task ends before `stop`; the open requests are finished first.
    pub async fn serve(
        self,
        api: TcpListener,
        admin: TcpListener,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        // A failed task stops the other tasks, but must not cancel the caller's token.
        let stop = stop.child_token();
        let mut tasks = Supervised::default();
        let readiness = Readiness::of(&["mongodb", "rabbitmq"]);
        let admin_address = admin.local_addr()?;
        tokio::spawn(serve_health(admin, readiness.clone()));
        tokio::spawn(watch_readiness(self.mongo, self.publisher, readiness));
        let changes = self.state.changes.clone();
        let stopped = stop.clone().cancelled_owned();
        tasks.start("the watch of job changes", async move { changes.run(stopped).await });
        tokio::spawn(self.state.auth.clone().log_access_warnings());
        tasks.start("the sweeper", self.sweeper.run(stop.clone()));
        tasks.start("the watch of workers", self.worker_watch.run(stop.clone()));
        // The dispatcher runs until the last request has ended, because requests create jobs.
        let all_accepted = CancellationToken::new();
        tasks.start("the dispatcher", self.dispatcher.run(all_accepted.clone()));
        tasks.start("the relay", self.relay.run(stop.clone()));

        info!(address = %api.local_addr()?, admin.address = %admin_address, "listening");
        let serving = server::serve(api, router(self.state), self.server, stop.clone());
        let served = async {
            tokio::select! {
                () = serving => {}
                // A client that never ends its request must not keep the process alive.
                () = grace_after(&stop, GRACE) => {}
            }
        };
        tokio::pin!(served);
        let outcome = tokio::select! {
            () = &mut served => Ok(()),
            failure = tasks.failure(&stop) => {
                error!("{failure}: the service stops, so that its supervisor restarts it");
                stop.cancel();
                served.await;
                Err(failure)
            }
        };
        all_accepted.cancel();
        let outcome = outcome.and(tasks.ended().await);
        info!("stopped");
        outcome
    }
}

/// Checks MongoDB and RabbitMQ and updates the readiness, which logs each change.
async fn watch_readiness(mongo: export_store::MongoClient, publisher: Publisher, readiness: Readiness) {
    loop {
        readiness.check("mongodb", mongo.ping()).await;
        readiness.check("rabbitmq", publisher.check()).await;
        tokio::time::sleep(READINESS_INTERVAL).await;
    }
}
