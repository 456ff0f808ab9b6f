//! The connection to MongoDB, and the time limit on everything that goes over it.

use std::future::Future;
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
const OPERATION: Duration = Duration::from_secs(30);

/// The server's code for a value that a unique index has already.
pub(crate) const DUPLICATE_KEY: i32 = 11_000;

/// A pool of connections to one MongoDB deployment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MongoClient {
    pub(crate) client: Client,
}

/// Prepares a client. Does not wait for a server: operations do, and fail with [`StoreError`] after a few seconds.
pub async fn connect(uri: &SecretString, application_name: &str) -> Result<MongoClient, StoreError> {
    let mut options =
        ClientOptions::parse(uri.expose_secret()).await.map_err(|_| StoreError::ConnectionString)?;
    options.app_name = Some(application_name.to_owned());
    options.server_selection_timeout = Some(SERVER_SELECTION);
    options.connect_timeout = Some(CONNECT);
    let client = Client::with_options(options).map_err(|_| StoreError::ConnectionString)?;
    Ok(MongoClient { client })
}

impl MongoClient {
    /// Asks the server for a sign of life.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let admin = self.client.database("admin");
        bounded("ping", async move { admin.run_command(bson::doc! { "ping": 1 }).await }).await.map(drop)
    }
}

/// How the service's own collections are read and written.
pub(crate) fn durable() -> CollectionOptions {
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
pub(crate) async fn bounded<T, F>(operation: &'static str, future: F) -> Result<T, StoreError>
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
