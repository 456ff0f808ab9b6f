//! The running worker: everything wired up, with the stop signal passed in.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use export_amqp::{ConsumerSettings, consume};
use export_engine::Engine;
use export_observability::{Readiness, init_metrics, serve_health};
use export_s3::ResultBucket;
use export_source::{Catalog, SourceThrottle, VehicleDatabases};
use export_store::{JobStore, MongoClient, RunSlots, WorkerRegistry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::attempt::{AttemptServices, DISCARD_TIMEOUT};
use crate::background::Background;
use crate::catalog::{CatalogKeeper, log_unexpected_end};
use crate::config::Config;
use crate::export::Exporter;
use crate::presence::Presence;
use crate::run_slots::WorkerRunSlots;
use crate::shutdown::Shutdown;
use crate::storage_gate::StorageGate;
use crate::worker::Worker;

/// Time after the grace period for storing how the running exports ended and for answering their
/// deliveries. Together with [`DISCARD_TIMEOUT`] and the default grace period it is less than the
/// ten seconds after which supervisors usually kill a program.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(5);
/// Time between two health checks of the services that the worker uses.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two looks at the consumer, which becomes ready last at the start.
const CONSUMER_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Time between two tries to reach a service at the start.
const START_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// The worker before it runs.
#[derive(Debug)]
pub struct App {
    services: Services,
    worker: Worker,
    consumer: ConsumerSettings,
    catalog: CatalogKeeper,
    presence: Presence,
    shutdown: Shutdown,
    grace: Duration,
}

/// Clients of the services whose health is the worker's readiness.
#[derive(Clone, Debug)]
struct Services {
    mongo: MongoClient,
    source: MongoClient,
    results: ResultBucket,
}

impl App {
    /// Creates all clients. Connects to nothing yet: [`App::run`] waits for services that are down.
    pub async fn build(config: &Config, results: ResultBucket, owner: String) -> anyhow::Result<Self> {
        init_metrics();
        let services = connect(config, results).await?;
        let (mongo, database) = (&services.mongo, &config.mongo.jobs_database);
        let throttle = SourceThrottle::new(&services.source, config.reading);
        let vehicles = VehicleDatabases::with_throttle(&throttle, &config.source.vehicle_database_prefix);
        let shutdown = Shutdown::default();

        let slots = WorkerRunSlots::new(
            Arc::new(RunSlots::new(mongo, database)),
            config.worker.running.max_running_exports,
            owner.clone(),
            config.terms.lease,
            shutdown.clone(),
        );
        let background = Background::new(config.niceness);
        let engine = Engine::with_threads(config.threads, move || background.tend_this_thread())
            .context("WORKER_THREADS cannot be started")?;
        let results = services.results.clone();
        let exporter = Exporter::new(vehicles.clone(), results, engine, config.budget, config.size);
        let storage = StorageGate::new(Arc::new(services.results.clone()), shutdown.clone());
        let attempts = AttemptServices {
            jobs: Arc::new(JobStore::new(mongo, database)),
            writer: Arc::new(exporter),
            storage: storage.clone(),
            shutdown: shutdown.clone(),
            terms: config.terms,
        };
        let catalog = CatalogKeeper::new(
            Catalog::new(mongo, database),
            vehicles,
            owner.clone(),
            config.worker.catalog_refresh_seconds,
        );
        let worker = Worker::new(attempts, slots, owner.clone());
        let presence = Presence {
            registry: WorkerRegistry::new(mongo, database),
            owner,
            slots: config.worker.worker_concurrency.get().into(),
            permits: worker.permits(),
            storage,
        };
        let consumer = ConsumerSettings {
            url: config.rabbitmq_url.clone(),
            topology: config.topology.clone(),
            concurrency: config.worker.worker_concurrency.get(),
            is_consuming: Arc::new(AtomicBool::new(false)),
        };
        Ok(Self {
            services,
            worker,
            consumer,
            catalog,
            presence,
            shutdown,
            grace: config.worker.shutdown_grace_seconds,
        })
    }

    /// Runs until `stop` is cancelled. Then running exports get the grace period to finish, and the
    /// rest is handed over to other workers.
    pub async fn run(self, admin: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
        let readiness = Readiness::of(&["mongodb", "rabbitmq", "s3", "source"]);
        tokio::spawn(serve_health(admin, readiness.clone()));
        tokio::select! {
            () = self.services.wait_until_reachable(&readiness) => {}
            () = stop.cancelled() => return Ok(()),
        }
        let is_consuming = Arc::clone(&self.consumer.is_consuming);
        tokio::spawn(self.services.watch(is_consuming, self.presence.storage.clone(), readiness));
        let shutdown = self.shutdown;
        tokio::spawn(shutdown.clone().follow(stop, self.grace));

        let reporting = tokio::spawn(self.presence.run(shutdown.intake().clone()));
        let keeping_catalog = tokio::spawn(self.catalog.run(shutdown.intake().clone()));
        let worker = self.worker;
        let consuming =
            consume(self.consumer, shutdown.intake().clone(), move |body| worker.clone().handle(body));
        tokio::select! {
            () = consuming => {}
            () = shutdown.handed_over_for(HAND_OVER_LIMIT) => {
                warn!("a job could not be given back in time; another worker takes it when its lease expires");
            }
        }
        // Exports that were handed over are discarding their uploads.
        if !shutdown.wait_for_tasks(DISCARD_TIMEOUT).await {
            warn!("an export that was handed over has not ended; the bucket's lifecycle removes its uploads");
        }
        log_unexpected_end(keeping_catalog.await);
        reporting.await.context("the reports of this worker ended unexpectedly")?;
        info!("stopped");
        Ok(())
    }
}

/// Creates the clients of all services but the broker.
async fn connect(config: &Config, results: ResultBucket) -> anyhow::Result<Services> {
    let mongo = export_store::connect(&config.mongo.uri, "exports-worker")
        .await
        .context("MONGODB_URI cannot be used")?;
    // A separate client even for one server, so that heartbeats never wait for a
    // connection behind reads.
    let (uri, name) = match &config.source.uri {
        None => (&config.mongo.uri, "MONGODB_URI"),
        Some(uri) => (uri, "SOURCE_MONGODB_URI"),
    };
    let source = export_source::connect_source(uri, "exports-worker", config.reading.max_reads)
        .await
        .with_context(|| format!("{name} cannot be used"))?;
    Ok(Services { mongo, source, results })
}

impl Services {
    async fn wait_until_reachable(&self, readiness: &Readiness) {
        wait_for("mongodb", readiness, || self.mongo.ping()).await;
        wait_for("source", readiness, || self.source.ping()).await;
        wait_for("s3", readiness, || self.results.check()).await;
    }

    /// Keeps the readiness up to date. Never returns.
    async fn watch(self, is_consuming: Arc<AtomicBool>, storage: StorageGate, readiness: Readiness) {
        let looks_per_check = CHECK_INTERVAL.as_millis() / CONSUMER_CHECK_INTERVAL.as_millis();
        loop {
            readiness.set("rabbitmq", is_consuming.load(Ordering::Relaxed));
            let storage_check = async {
                // While the gate is closed, it checks whether results can be stored.
                match storage.refusal() {
                    Some(refusal) => readiness.fail("s3", &refusal.reason),
                    None => {
                        if let Some(reason) = readiness.check("s3", self.results.check()).await {
                            storage.close(&reason);
                        }
                    }
                }
            };
            tokio::join!(
                readiness.check("mongodb", self.mongo.ping()),
                readiness.check("source", self.source.ping()),
                storage_check
            );
            for _ in 0..looks_per_check {
                tokio::time::sleep(CONSUMER_CHECK_INTERVAL).await;
                readiness.set("rabbitmq", is_consuming.load(Ordering::Relaxed));
            }
        }
    }
}

/// Waits until a service is reachable. Each failed try is logged.
async fn wait_for<E, F>(service: &'static str, readiness: &Readiness, check: impl Fn() -> F)
where
    E: std::error::Error + 'static,
    F: Future<Output = Result<(), E>>,
{
    while readiness.check(service, check()).await.is_some() {
        tokio::time::sleep(START_RETRY_INTERVAL).await;
    }
}
