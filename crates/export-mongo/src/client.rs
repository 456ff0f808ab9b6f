//! The connection to MongoDB, and the time limit on everything that goes over it.

use std::future::Future;
use std::num::NonZeroUsize;
use std::time::Duration;

use mongodb::Client;
use mongodb::options::{
    Acknowledgment, ClientOptions, CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria,
    WriteConcern,
};
use secrecy::{ExposeSecret, SecretString};

use crate::error::StoreError;

/// How long the driver looks for a server that can take an operation.
const SERVER_SELECTION: Duration = Duration::from_secs(5);
/// How long a TCP connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long any single operation may take; a `find` with a batch of documents included.
pub const OPERATION: Duration = Duration::from_secs(30);

/// Connections to the source beside those of reads: signs of life, how it is, cursors that are closed.
const SPARE_CONNECTIONS: u32 = 4;

/// A pool of connections to one MongoDB deployment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MongoClient {
    client: Client,
}

/// Prepares a client. Does not wait for a server: operations do, and fail with [`StoreError`] after a few seconds.
pub async fn connect(uri: &SecretString, application_name: &str) -> Result<MongoClient, StoreError> {
    connect_with(uri, application_name, None).await
}

/// Prepares a client of its own for the vehicles' databases, wide enough for so many reads at a time: they wait for their turn at the
/// throttle, and never for a connection, nor do others wait for theirs behind them.
pub async fn connect_source(
    uri: &SecretString,
    application_name: &str,
    max_reads: NonZeroUsize,
) -> Result<MongoClient, StoreError> {
    connect_with(uri, application_name, Some(max_reads)).await
}

async fn connect_with(
    uri: &SecretString,
    application_name: &str,
    max_reads: Option<NonZeroUsize>,
) -> Result<MongoClient, StoreError> {
    let mut options =
        ClientOptions::parse(uri.expose_secret()).await.map_err(|_| StoreError::ConnectionString)?;
    options.app_name = Some(application_name.to_owned());
    options.server_selection_timeout = Some(SERVER_SELECTION);
    options.connect_timeout = Some(CONNECT);
    if let Some(max_reads) = max_reads {
        let wide = u32::try_from(max_reads.get()).unwrap_or(u32::MAX).saturating_add(SPARE_CONNECTIONS);
        options.max_pool_size.get_or_insert(wide);
    }
    let client = Client::with_options(options).map_err(|_| StoreError::ConnectionString)?;
    Ok(MongoClient { client })
}

impl MongoClient {
    /// The driver's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks the server for a sign of life.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let admin = self.client.database("admin");
        bounded("ping", async move { admin.run_command(bson::doc! { "ping": 1 }).await }).await.map(drop)
    }
}

/// How the service's own collections are read and written.
pub fn durable() -> CollectionOptions {
    // Journalled on a majority: what was acknowledged survives the loss of any one machine.
    let durable = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(Duration::from_secs(10))
        .build();
    // Read from the primary whatever the connection string says: a secondary may not know yet what was acknowledged.
    CollectionOptions::builder()
        .write_concern(durable)
        .read_concern(ReadConcern::majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build()
}

/// Runs one driver operation under the time limit.
///
/// On its own task: the driver has no socket time-out, and dropping one of its futures half-way would cost the
/// connection. Past the limit the task is left to end by itself.
pub async fn bounded<T, F>(operation: &'static str, future: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, mongodb::error::Error>> + Send + 'static,
{
    match tokio::time::timeout(OPERATION, tokio::spawn(future)).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(StoreError::Driver { operation, source: Box::new(error) }),
        Ok(Err(panic)) => Err(StoreError::Driver { operation, source: Box::new(panic) }),
        Err(_) => Err(StoreError::TimedOut { operation, seconds: OPERATION.as_secs() }),
    }
}
