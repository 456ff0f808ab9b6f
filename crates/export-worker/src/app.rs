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
use export_store::{JobStore, MongoClient, RunSlots};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::catalog::{CatalogKeeper, note_end};
use crate::config::Config;
use crate::export::{Exporter, STOPPING};
use crate::places::FleetPlaces;
use crate::worker::Worker;

/// How often the services behind the worker are asked for a sign of life.
const WATCH: Duration = Duration::from_secs(5);
/// Time between tries while the worker waits for a service at its start.
const WAIT: Duration = Duration::from_secs(2);

/// The worker before it works.
#[derive(Debug)]
pub struct App {
    mongo: MongoClient,
    source: MongoClient,
    worker: Worker,
    consumer: ConsumerSettings,
    catalog: CatalogKeeper,
    hand_over: CancellationToken,
    grace: Duration,
}

impl App {
    /// Prepares all clients. Connects to nothing yet: what is not there is waited for.
    pub async fn build(config: &Config, results: ResultBucket, owner: String) -> anyhow::Result<Self> {
        init_metrics();
        let mongo = export_store::connect(&config.mongo.uri, "exports-worker")
            .await
            .context("MONGODB_URI cannot be used")?;
        // A client of its own even where the server is the same: heartbeats wait for no connection behind reads.
        let (uri, name) = match &config.source.uri {
            None => (&config.mongo.uri, "MONGODB_URI"),
            Some(uri) => (uri, "SOURCE_MONGODB_URI"),
        };
        let source = export_source::connect_source(uri, "exports-worker", config.reading.max_reads)
            .await
            .with_context(|| format!("{name} cannot be used"))?;
        let throttle = SourceThrottle::new(&source, config.reading);
        let niceness = config.niceness;
        let jobs = JobStore::new(&mongo, &config.mongo.jobs_database);
        let hand_over = CancellationToken::new();
        let exporter = Exporter {
            jobs: jobs.clone(),
            vehicles: VehicleDatabases::with_throttle(&throttle, &config.source.vehicle_database_prefix),
            results,
            engine: Engine::with_threads(config.threads, move || niceness.keep_this_thread_in_background())
                .context("WORKER_THREADS cannot be started")?,
            budget: config.budget,
            hand_over: hand_over.clone(),
            ending: TaskTracker::new(),
        };
        let consumer = ConsumerSettings {
            url: config.rabbitmq_url.clone(),
            topology: config.topology.clone(),
            concurrency: config.worker.concurrency.get(),
            is_consuming: Arc::new(AtomicBool::new(false)),
        };
        let catalog = CatalogKeeper {
            catalog: Catalog::new(&mongo, &config.mongo.jobs_database),
            vehicles: exporter.vehicles.clone(),
            owner: owner.clone(),
            refresh: config.worker.catalog_refresh,
        };
        let places = FleetPlaces::new(
            RunSlots::new(&mongo, &config.mongo.jobs_database),
            config.worker.max_running_exports,
            owner.clone(),
            config.terms.lease,
            exporter.ending.clone(),
        );
        let worker = Worker { jobs, exporter, places, owner, terms: config.terms };
        Ok(Self { mongo, source, worker, consumer, catalog, hand_over, grace: config.worker.grace })
    }

    /// Works until `stop`; then running exports get a few seconds to end, and the rest is handed over.
    pub async fn run(self, admin: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
        let readiness = Readiness::of(&["mongodb", "rabbitmq", "s3", "source"]);
        tokio::spawn(serve_health(admin, readiness.clone()));

        let results = self.worker.exporter.results.clone();
        let waiting = async {
            wait_for("mongodb", &readiness, || self.mongo.ping()).await;
            wait_for("source", &readiness, || self.source.ping()).await;
            wait_for("s3", &readiness, || results.check()).await;
        };
        tokio::select! {
            () = waiting => {}
            () = stop.cancelled() => return Ok(()),
        }
        tokio::spawn(watch(
            self.mongo,
            self.source,
            results,
            Arc::clone(&self.consumer.is_consuming),
            readiness,
        ));

        let keeping_catalog = tokio::spawn(self.catalog.run(stop.clone()));

        let (grace_stop, hand_over) = (stop.clone(), self.hand_over);
        tokio::spawn(async move {
            grace_stop.cancelled().await;
            tokio::time::sleep(self.grace).await;
            hand_over.cancel();
        });
        let mut worker = self.worker;
        worker.places.stop = stop.clone();
        let ending = worker.exporter.ending.clone();
        consume(self.consumer, stop, move |body| worker.clone().handle(body)).await;
        // Exports that were handed over are throwing away what they have uploaded.
        ending.close();
        if tokio::time::timeout(STOPPING, ending.wait()).await.is_err() {
            warn!(
                "an export that was handed over has not ended; the bucket's lifecycle removes what it has uploaded"
            );
        }
        note_end(keeping_catalog.await);
        info!("stopped");
        Ok(())
    }
}

/// Waits until a service answers, with a line in the log for each try that fails.
async fn wait_for<E, F>(service: &'static str, readiness: &Readiness, check: impl Fn() -> F)
where
    E: std::error::Error + 'static,
    F: Future<Output = Result<(), E>>,
{
    loop {
        let outcome = check().await;
        let is_reached = outcome.is_ok();
        readiness.note(service, outcome);
        if is_reached {
            return;
        }
        tokio::time::sleep(WAIT).await;
    }
}

/// Keeps the readiness true while the worker works.
async fn watch(
    mongo: MongoClient,
    source: MongoClient,
    results: ResultBucket,
    is_consuming: Arc<AtomicBool>,
    readiness: Readiness,
) {
    loop {
        readiness.set("rabbitmq", is_consuming.load(Ordering::Relaxed));
        readiness.note("mongodb", mongo.ping().await);
        readiness.note("source", source.ping().await);
        readiness.note("s3", results.check().await);
        // The queue is the part that comes last at the start: looked at more often than the others are asked.
        for _ in 0..WATCH.as_secs() * 4 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            readiness.set("rabbitmq", is_consuming.load(Ordering::Relaxed));
        }
    }
}
