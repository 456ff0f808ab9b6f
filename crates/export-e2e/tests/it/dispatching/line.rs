//! Waiting jobs, the queue, and the dispatcher.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_rs::Runtime;
use bson::{Document, doc};
use export_amqp::{Publisher, Topology};
use export_api::tasks::dispatcher::{Dispatcher, DispatcherWaker};
use export_core::access::AllowedVehicles;
use export_core::job::{Failure, NewJob, Priority};
use export_core::request::ExportRequest;
use export_core::{JobId, Tenant};
use export_store::{Changes, Claim, JobStore};
use export_testkit::isolation::TestSpace;
use futures_util::{StreamExt, TryStreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, Consumer};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{LEASE, PATIENCE};

/// A queue and jobs, without a dispatcher.
pub(super) struct Line {
    pub(super) space: TestSpace,
    pub(super) topology: Topology,
    pub(super) jobs: JobStore,
    pub(super) channel: Channel,
    connection: Connection,
}

/// A running dispatcher.
pub(super) struct Dispatching {
    pub(super) waker: DispatcherWaker,
    pub(super) stop: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

impl Dispatching {
    pub(super) async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.expect("no panic");
        }
    }
}

impl Line {
    pub(super) async fn start() -> Self {
        let space = TestSpace::create().await;
        let topology = Topology::named(&space.topology).with_retry_rest(Duration::from_millis(200));
        topology.provision(&space.services.rabbitmq_url.clone().into()).await.expect("queues");
        let jobs = store(&space).await;
        jobs.provision().await.expect("indexes");
        let properties = ConnectionProperties::default();
        let url = &space.services.rabbitmq_url;
        let connecting = Connection::connect_with_runtime(url, properties, Runtime::tokio_current());
        let connection = connecting.await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        Self { space, topology, jobs, channel, connection }
    }

    /// A dispatcher that runs its own rounds.
    pub(super) async fn dispatcher(&self, max_running_per_tenant: usize) -> Dispatching {
        let url = self.space.services.rabbitmq_url.clone();
        let (dispatcher, changes) = self.new_dispatcher(url, max_running_per_tenant).await;
        let (stop, waker) = (CancellationToken::new(), dispatcher.waker());
        let following = stop.clone().cancelled_owned();
        let tasks = [
            tokio::spawn(dispatcher.run(stop.clone())),
            tokio::spawn(async move { changes.run(following).await }),
        ];
        Dispatching { waker, stop, tasks }
    }

    /// A dispatcher that is idle between the rounds that the test requests.
    pub(super) async fn stepped_dispatcher(
        &self,
        rabbitmq_url: String,
        max_running_per_tenant: usize,
    ) -> Dispatcher {
        self.new_dispatcher(rabbitmq_url, max_running_per_tenant).await.0
    }

    async fn new_dispatcher(
        &self,
        rabbitmq_url: String,
        max_running_per_tenant: usize,
    ) -> (Dispatcher, Changes) {
        let jobs = store(&self.space).await;
        let changes = Changes::of(&jobs);
        let publisher = Publisher::new(rabbitmq_url.into(), self.topology.clone());
        (Dispatcher::new(jobs, changes.clone(), publisher, max_running_per_tenant, MAX_RUNNING), changes)
    }

    pub(super) async fn job(&self, tenant: &str, priority: Priority) -> JobId {
        let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
        let new = NewJob {
            id: JobId::new(Uuid::now_v7()),
            tenant: tenant.parse::<Tenant>().expect("a tenant"),
            created_by: "test".to_owned(),
            request: ExportRequest::parse(&body).expect("a request"),
            allowed_vehicles: AllowedVehicles::All,
            priority,
            max_attempts: 3,
            share_key: None,
            idempotency: None,
            first_warnings: export_core::warnings::Warnings::default(),
            trace_parent: None,
        };
        export_e2e::create(&self.jobs, &new).await;
        new.id
    }

    pub(super) async fn small_jobs(&self, tenant: &str, count: usize) -> Vec<JobId> {
        let mut jobs = Vec::with_capacity(count);
        for _ in 0..count {
            jobs.push(self.job(tenant, Priority::Interactive).await);
        }
        jobs
    }

    pub(super) fn stored(&self) -> mongodb::Collection<Document> {
        self.space.mongodb.database(&self.space.jobs_database).collection("jobs")
    }

    pub(super) async fn found(&self, of: Document) -> Vec<Document> {
        let found =
            self.stored().find(of).sort(doc! { "publishedAt": 1, "_id": 1 }).await.expect("an answer");
        found.try_collect().await.expect("jobs")
    }

    /// Unclaimed jobs in the broker, oldest first.
    pub(super) async fn in_broker(&self) -> Vec<Document> {
        self.found(doc! { "state": "NOT_STARTED", "publishedAt": { "$type": "date" } }).await
    }

    /// Waits until exactly this many jobs are in the broker.
    pub(super) async fn until_in_broker(&self, count: usize) -> Vec<Document> {
        let asked_at = Instant::now();
        loop {
            let jobs = self.in_broker().await;
            assert!(jobs.len() <= count, "too many: {jobs:?}");
            if jobs.len() == count {
                return jobs;
            }
            assert!(asked_at.elapsed() < PATIENCE, "only {} of {count}", jobs.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Number of each tenant's jobs in the broker.
    pub(super) async fn tenants_in_broker(&self, count: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for job in self.until_in_broker(count).await {
            *counts.entry(text(&job, "tenant")).or_default() += 1;
        }
        counts
    }

    pub(super) async fn claim(&self, job: &Document) -> Option<export_core::job::Fence> {
        let id = text(job, "_id").parse().expect("an id");
        match self.jobs.claim(id, "worker", LEASE).await.expect("an answer") {
            Claim::Claimed(_, fence) => Some(fence),
            Claim::Refused(_) => None,
        }
    }

    /// Completes a job like a worker: claims it, and ends it.
    pub(super) async fn do_it(&self, job: &Document) {
        let fence = self.claim(job).await.unwrap_or_else(|| panic!("not claimed: {job:#}"));
        let failure = Failure { code: "test".to_owned(), message: "it was only a test".to_owned() };
        self.jobs.fail(&fence, &failure).await.expect("an answer");
    }

    /// One lane of a worker: a consumer with one message at a time.
    pub(super) async fn lane(&self) -> Consumer {
        let channel = self.connection.create_channel().await.expect("a channel");
        channel.basic_qos(1, BasicQosOptions::default()).await.expect("a prefetch");
        let (queue, options) = (self.topology.queue(), BasicConsumeOptions::default());
        let consuming =
            channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default());
        consuming.await.expect("a consumer")
    }

    /// Works in a lane: interactive jobs end at once, and bulk jobs never.
    pub(super) async fn work(&self, mut lane: Consumer) {
        loop {
            let delivery = lane.next().await.expect("an open queue").expect("a delivery");
            let message: Value = serde_json::from_slice(&delivery.data).expect("JSON");
            let id = message["jobId"].as_str().expect("an id");
            let job = self.found(doc! { "_id": id }).await.remove(0);
            if text(&job, "priority") == "interactive" {
                self.do_it(&job).await;
            } else {
                self.claim(&job).await.expect("claimed");
                std::future::pending::<()>().await;
            }
            delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
        }
    }

    /// Messages that wait in the queue.
    pub(super) async fn messages(&self) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.topology.queue();
        let declared =
            self.channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await;
        declared.expect("a queue").message_count()
    }

    pub(super) async fn consumer(&self) -> Consumer {
        consumer(&self.channel, &self.topology).await
    }

    pub(super) async fn end(self) {
        self.connection.close(200, "done".into()).await.expect("closed");
        self.space.cleanup().await;
    }
}

/// The default of the limit of running exports.
const MAX_RUNNING: usize = 16;

pub(super) async fn store(space: &TestSpace) -> JobStore {
    let client = export_store::connect(&space.services.mongodb_uri.clone().into(), "dispatching").await;
    JobStore::new(&client.expect("a client"), &space.jobs_database)
}

pub(super) async fn consumer(channel: &Channel, topology: &Topology) -> Consumer {
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let queue = topology.queue();
    let consuming = channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default());
    consuming.await.expect("a consumer")
}

/// The job that the next message names.
pub(super) async fn next_message(consumer: &mut Consumer) -> String {
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("a message in time");
    let delivery = next.expect("an open queue").expect("a delivery");
    let message: Value = serde_json::from_slice(&delivery.data).expect("JSON");
    message["jobId"].as_str().expect("an id").to_owned()
}

pub(super) fn text(job: &Document, field: &str) -> String {
    job.get_str(field).expect("a text").to_owned()
}
