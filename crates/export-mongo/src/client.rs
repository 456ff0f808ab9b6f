//! Connections to MongoDB, and the time limit on every operation.

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

/// How long the driver waits for a suitable server.
const SERVER_SELECTION: Duration = Duration::from_secs(5);
/// Timeout of connecting over TCP.
const CONNECT: Duration = Duration::from_secs(5);
/// Timeout of every single operation, including a `find` with its batch of documents.
pub const OPERATION: Duration = Duration::from_secs(30);

/// Connections to the source in addition to those of reads: for pings, `serverStatus` and closing
/// cursors.
const SPARE_CONNECTIONS: u32 = 4;

/// A connection pool to one MongoDB deployment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MongoClient {
    client: Client,
}

/// Creates a client without waiting for a server. Operations wait, and fail with [`StoreError`]
/// after a few seconds.
pub async fn connect(uri: &SecretString, application_name: &str) -> Result<MongoClient, StoreError> {
    connect_with(uri, application_name, None).await
}

/// Creates a client for the vehicles' databases whose pool is large enough for `max_reads`
/// concurrent reads: reads wait at the throttle and never for a connection, and do not keep other
/// operations waiting for one.
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
        let pool_size = u32::try_from(max_reads.get()).unwrap_or(u32::MAX).saturating_add(SPARE_CONNECTIONS);
        options.max_pool_size.get_or_insert(pool_size);
    }
    let client = Client::with_options(options).map_err(|_| StoreError::ConnectionString)?;
    Ok(MongoClient { client })
}

impl MongoClient {
    /// The driver's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Checks that a server answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let admin = self.client.database("admin");
        bounded("ping", async move { admin.run_command(bson::doc! { "ping": 1 }).await }).await.map(drop)
    }
}

/// The options of the service's own collections: majority writes with journal, majority reads from
/// the primary.
pub fn durable() -> CollectionOptions {
    // Journalled on a majority: an acknowledged write survives the loss of any one machine.
    let durable = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(Duration::from_secs(10))
        .build();
    // From the primary, whatever the connection string says: a secondary may lag behind
    // acknowledged writes.
    CollectionOptions::builder()
        .write_concern(durable)
        .read_concern(ReadConcern::majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build()
}

/// Runs one operation of the driver with the timeout [`OPERATION`].
///
/// The operation runs on its own task, because the driver has no socket timeout, and dropping one
/// of its futures half-way closes the connection. After the timeout the task is left running until
/// it ends by itself.
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
