//! `bench-drain`: reads every hour document of every vehicle from MongoDB and discards it: the
//! source's best throughput.
#![expect(clippy::print_stdout, reason = "the figures are this program's result")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use export_bench::usage::{Stopwatch, Usage};
use futures_util::TryStreamExt as _;
use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::{Client, Collection};
use serde::Serialize;
use tokio::task::JoinSet;

/// Time limit: a drain that takes longer is stuck.
const RUN_LIMIT: Duration = Duration::from_mins(30);

/// Drains the vehicles' collections through raw batches
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the vehicles are
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    mongodb_uri: String,
    /// Prefix of their databases' names
    #[arg(long, default_value = "vehicle_")]
    prefix: String,
    /// Collections that are read at a time
    #[arg(long, default_value_t = 5)]
    tasks: usize,
    /// Documents per batch: 24 are about 1.5 MB of busy hours
    #[arg(long, default_value_t = 24)]
    batch_documents: u32,
}

/// The output.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    #[serde(flatten)]
    usage: Usage,
    tasks: usize,
    documents: u64,
    bytes: u64,
}

type Queue = Arc<Mutex<VecDeque<Collection<RawDocumentBuf>>>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let figures = tokio::time::timeout(RUN_LIMIT, run(&arguments)).await.context("the drain is stuck")??;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

async fn run(arguments: &Arguments) -> anyhow::Result<Figures> {
    let client = Client::with_uri_str(&arguments.mongodb_uri).await.context("MongoDB")?;
    let stopwatch = Stopwatch::start()?;
    let queue: Queue = Arc::new(Mutex::new(collections(&client, &arguments.prefix).await?));
    let mut tasks = JoinSet::new();
    for _ in 0..arguments.tasks.max(1) {
        tasks.spawn(drain(Arc::clone(&queue), arguments.batch_documents));
    }
    let (mut documents, mut bytes) = (0, 0);
    while let Some(drained) = tasks.join_next().await {
        let (task_documents, task_bytes) = drained??;
        documents += task_documents;
        bytes += task_bytes;
    }
    let usage = stopwatch.stop()?;
    Ok(Figures { usage, tasks: arguments.tasks, documents, bytes })
}

async fn collections(client: &Client, prefix: &str) -> anyhow::Result<VecDeque<Collection<RawDocumentBuf>>> {
    let mut collections = VecDeque::new();
    let names = client.list_database_names().await?;
    for name in names.iter().filter(|name| name.starts_with(prefix)) {
        let database = client.database(name);
        let parameters = database.list_collection_names().await?;
        collections.extend(parameters.iter().map(|parameter| database.collection(parameter)));
    }
    Ok(collections)
}

/// Drains collections from the queue until it is empty; returns documents and bytes.
async fn drain(queue: Queue, batch_documents: u32) -> anyhow::Result<(u64, u64)> {
    let (mut documents, mut bytes) = (0, 0);
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(collection) = next else { return Ok((documents, bytes)) };
        let mut cursor =
            collection.find(doc! {}).sort(doc! { "_id": 1 }).batch_size(batch_documents).batch().await?;
        while let Some(batch) = cursor.try_next().await? {
            for element in batch.doc_slices()? {
                let document = element?.as_document().context("a batch holds documents")?;
                documents += 1;
                bytes += document.as_bytes().len() as u64;
            }
        }
    }
}
