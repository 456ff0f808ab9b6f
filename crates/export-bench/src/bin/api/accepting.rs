//! Accepting jobs: the bare operations, and the whole request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use export_bench::latency::Latencies;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection as Amqp, ConnectionProperties};
use mongodb::bson::{Document, doc};
use mongodb::options::{Acknowledgment, CollectionOptions, WriteConcern};
use mongodb::{Client, Collection};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::connection::Connection;
use crate::service::Service;

/// AMQP's delivery mode for messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;

/// The two operations that accepting a job requires, on one connection each.
pub(crate) struct Bare {
    jobs: Collection<Document>,
    /// As the API stores it.
    job: Document,
    channel: Channel,
    exchange: Arc<str>,
    /// Keeps the channel open.
    _connection: Amqp,
}

impl Bare {
    /// Uses a job that the API created as the template.
    pub(crate) async fn prepare(service: &Service) -> anyhow::Result<Self> {
        let path = service.accepted_path().await?;
        let job_id = path.rsplit('/').next().unwrap_or_default().to_owned();
        let client = Client::with_uri_str(&service.own.mongodb_uri).await.context("MongoDB")?;
        let durable = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
        let options = CollectionOptions::builder().write_concern(durable).build();
        let jobs = client.database(&service.own.name).collection_with_options("jobs", options);
        let job = jobs.find_one(doc! { "_id": job_id }).await?.context("the job is not stored")?;
        let connection = Amqp::connect(&service.own.rabbitmq_url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { jobs, job, channel, exchange: service.own.name.as_str().into(), _connection: connection })
    }

    /// Inserts and publishes, this many at a time.
    pub(crate) async fn run(&self, width: usize, time: Duration) -> anyhow::Result<Latencies> {
        let mut loops = JoinSet::new();
        let begun = Instant::now();
        for _ in 0..width {
            let (jobs, job, channel) = (self.jobs.clone(), self.job.clone(), self.channel.clone());
            let exchange = Arc::clone(&self.exchange);
            loops.spawn(async move {
                let mut times = Vec::new();
                while begun.elapsed() < time {
                    let started = Instant::now();
                    accept(&jobs, &job, &channel, &exchange).await?;
                    times.push(started.elapsed());
                }
                anyhow::Ok(times)
            });
        }
        finish(loops, begun).await
    }
}

async fn accept(
    jobs: &Collection<Document>,
    job: &Document,
    channel: &Channel,
    exchange: &str,
) -> anyhow::Result<()> {
    let id = Uuid::now_v7().to_string();
    let mut job = job.clone();
    job.insert("_id", &id);
    jobs.insert_one(job).await?;
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let message = format!(r#"{{"v":1,"jobId":"{id}"}}"#);
    let sent = channel.basic_publish(exchange.into(), "jobs".into(), options, message.as_bytes(), properties);
    let confirmed = matches!(sent.await?.await?, Confirmation::Ack(None));
    ensure!(confirmed, "the broker did not confirm a message");
    Ok(())
}

/// `POST /export`, this many at a time, each on a connection of its own.
pub(crate) async fn post(service: &Service, width: usize, time: Duration) -> anyhow::Result<Latencies> {
    let request: Arc<[u8]> = service.post_request().into();
    let mut loops = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..width {
        let (address, request) = (service.address(), Arc::clone(&request));
        loops.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut times = Vec::new();
            while begun.elapsed() < time {
                let started = Instant::now();
                let answer = connection.exchange(&request).await?;
                ensure!(answer.status == 202, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
                times.push(started.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    finish(loops, begun).await
}

async fn finish(
    mut loops: JoinSet<anyhow::Result<Vec<Duration>>>,
    begun: Instant,
) -> anyhow::Result<Latencies> {
    let mut times = Vec::new();
    while let Some(ended) = loops.join_next().await {
        times.extend(ended??);
    }
    Ok(Latencies::of(times, begun.elapsed()))
}
