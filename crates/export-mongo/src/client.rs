//! Connections to MongoDB, and the time limit on every operation.

use std::env;
use std::future::Future;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mongodb::Client;
use mongodb::error::ErrorKind;
use mongodb::options::{
    Acknowledgment, ClientOptions, CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria, Tls,
    WriteConcern,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::StoreError;

/// How long the driver waits for a suitable server.
const SERVER_SELECTION: Duration = Duration::from_secs(5);
/// Timeout of connecting over TCP.
const CONNECT: Duration = Duration::from_secs(5);
/// Timeout of every single operation, including a `find` with its batch of documents.
pub const OPERATION: Duration = Duration::from_secs(30);
/// Time limit that the server gets for a read of the source. It is shorter than [`OPERATION`], so
/// that a read that takes too long ends with the server's error, which is no outage.
pub const ON_SERVER: Duration = Duration::from_secs(25);

/// Timeout of an operation of `exports provision` that reads or writes a whole collection, such as
/// the build of an index.
pub const MAINTENANCE: Duration = Duration::from_hours(1);
/// Server-side time limit (`maxTimeMS`) of every read of the service's own collections that has no
/// shorter one. An index answers these reads within milliseconds.
pub const READ_TIME: Duration = Duration::from_secs(10);
/// Connections of a process to the jobs' database, unless the connection string has `maxPoolSize`.
const POOL_SIZE: u32 = 64;
/// Connections of the pool that operations on collections leave free: for pings, change streams and
/// closing cursors.
const SPARE_CONNECTIONS: u32 = 4;
/// How long an operation waits for a connection while all of them are in use.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// How long a read may go on after its caller is gone. Most reads end within this time, and
/// cancelling a read closes its connection, which costs more than the rest of a short read.
const ABANDONED_READ: Duration = Duration::from_millis(250);

/// A connection pool to one MongoDB deployment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MongoClient {
    client: Client,
    connections: Connections,
}

/// The connections that operations on collections may use at a time. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connections(Arc<Semaphore>);

impl Connections {
    fn of_pool(pool_size: u32) -> Self {
        let usable = pool_size.saturating_sub(SPARE_CONNECTIONS).max(1);
        let usable = usize::try_from(usable).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(usable.min(Semaphore::MAX_PERMITS))))
    }

    /// Waits for a free connection, at most [`CONNECTION_WAIT`]. The driver itself would wait for
    /// as long as it takes.
    pub(crate) async fn acquire(&self, operation: &'static str) -> Result<OwnedSemaphorePermit, StoreError> {
        match tokio::time::timeout(CONNECTION_WAIT, Arc::clone(&self.0).acquire_owned()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(_)) => Err(StoreError::Bug("the semaphore of connections was closed")),
            Err(_) => Err(StoreError::NoConnection { operation, seconds: CONNECTION_WAIT.as_secs() }),
        }
    }
}

/// Creates a client without waiting for a server. Operations wait, and fail with [`StoreError`]
/// after a few seconds.
pub async fn connect(uri: &SecretString, application_name: &str) -> Result<MongoClient, StoreError> {
    connect_with(uri, application_name, None).await
}

/// Checks a connection string as [`connect`] does, without a client. Looks up the hosts of a
/// `mongodb+srv` string.
pub async fn check_uri(uri: &SecretString) -> Result<(), StoreError> {
    let parsed = ClientOptions::parse(uri.expose_secret()).await;
    parsed.map(drop).map_err(|_| StoreError::ConnectionString)
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
    if let Some(Tls::Enabled(tls)) = &mut options.tls {
        tls.ca_file_path = tls.ca_file_path.take().or_else(authorities);
    }
    options.app_name = Some(application_name.to_owned());
    options.server_selection_timeout = Some(SERVER_SELECTION);
    options.connect_timeout = Some(CONNECT);
    let for_reads = |max_reads: NonZeroUsize| u32::try_from(max_reads.get()).unwrap_or(u32::MAX);
    let wanted =
        max_reads.map_or(POOL_SIZE, |max_reads| for_reads(max_reads).saturating_add(SPARE_CONNECTIONS));
    // In a connection string, 0 means no limit.
    let pool_size = match *options.max_pool_size.get_or_insert(wanted) {
        0 => u32::MAX,
        limited => limited,
    };
    let client = Client::with_options(options).map_err(|error| match *error.kind {
        ErrorKind::InvalidTlsConfig { message, .. } => StoreError::Tls(message),
        _ => StoreError::ConnectionString,
    })?;
    Ok(MongoClient { client, connections: Connections::of_pool(pool_size) })
}

/// The file of the certificate authorities that all other connections trust: that of the variable
/// which their TLS libraries read, or that of the system. Without it, the driver would trust only
/// the public authorities that it was built with.
fn authorities() -> Option<PathBuf> {
    env::var_os(openssl_probe::ENV_CERT_FILE).map(PathBuf::from).or_else(|| openssl_probe::probe().cert_file)
}

impl MongoClient {
    /// The driver's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Checks that a server answers. Needs none of the connections that other operations use.
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
/// of its futures half-way closes the connection. If the caller is cancelled, the operation goes on
/// until the timeout: this is for writes, which then happen completely. At the timeout the
/// operation is cancelled, so that it does not keep its connection.
pub async fn bounded<T, F>(operation: &'static str, future: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, mongodb::error::Error>> + Send + 'static,
{
    run(operation, Limits { timeout: OPERATION, after_caller: OPERATION }, future).await
}

/// Like [`bounded`], for operations of an administrator on a whole collection, with the timeout
/// [`MAINTENANCE`].
pub async fn bounded_maintenance<T, F>(operation: &'static str, future: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, mongodb::error::Error>> + Send + 'static,
{
    run(operation, Limits { timeout: MAINTENANCE, after_caller: OPERATION }, future).await
}

/// Like [`bounded`], for reads: a read whose caller is gone is cancelled after [`ABANDONED_READ`].
/// The driver then closes the connection, and the server stops the read.
pub async fn bounded_read<T, F>(operation: &'static str, future: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, mongodb::error::Error>> + Send + 'static,
{
    run(operation, Limits { timeout: OPERATION, after_caller: ABANDONED_READ }, future).await
}

/// How long an operation may take.
struct Limits {
    /// In all.
    timeout: Duration,
    /// After its caller was cancelled.
    after_caller: Duration,
}

async fn run<T, F>(operation: &'static str, limits: Limits, future: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, mongodb::error::Error>> + Send + 'static,
{
    let (caller, caller_is_gone) = oneshot::channel::<()>();
    let is_abandoned = async move {
        caller_is_gone.await.ok();
        tokio::time::sleep(limits.after_caller).await;
    };
    let running = tokio::spawn(async move {
        tokio::select! {
            answer = tokio::time::timeout(limits.timeout, future) => answer.ok(),
            () = is_abandoned => None,
        }
    });
    let answer = running.await;
    // Dropped when this future is dropped, or here.
    drop(caller);
    match answer {
        Ok(Some(Ok(value))) => Ok(value),
        Ok(Some(Err(error))) => Err(StoreError::of_driver(operation, error)),
        Ok(None) => Err(StoreError::TimedOut { operation, seconds: limits.timeout.as_secs() }),
        Err(panic) => Err(StoreError::Driver { operation, source: Box::new(panic) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operation that never ends, and a receiver that ends when the operation is dropped.
    fn endless() -> (impl Future<Output = mongodb::error::Result<()>> + Send + 'static, oneshot::Receiver<()>)
    {
        let (alive, dropped) = oneshot::channel::<()>();
        let operation = async move {
            std::future::pending::<()>().await;
            drop(alive);
            Ok(())
        };
        (operation, dropped)
    }

    #[tokio::test(start_paused = true)]
    async fn c2_a_read_whose_caller_is_gone_is_cancelled_soon() {
        let (operation, dropped) = endless();
        let caller = tokio::spawn(bounded_read("read", operation));
        tokio::task::yield_now().await;
        caller.abort();
        let gone_at = tokio::time::Instant::now();
        assert!(dropped.await.is_err(), "cancelled");
        assert!((ABANDONED_READ..ABANDONED_READ * 2).contains(&gone_at.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn c2_a_write_whose_caller_is_gone_goes_on_until_its_timeout() {
        let (operation, dropped) = endless();
        let caller = tokio::spawn(bounded("write", operation));
        tokio::task::yield_now().await;
        caller.abort();
        let gone_at = tokio::time::Instant::now();
        assert!(dropped.await.is_err(), "cancelled in the end");
        assert!((OPERATION..OPERATION * 2).contains(&gone_at.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn c2_an_operation_that_times_out_keeps_no_connection() {
        let (operation, dropped) = endless();
        let outcome = bounded("write", operation).await;
        assert!(matches!(outcome, Err(StoreError::TimedOut { seconds: 30, .. })), "{outcome:?}");
        assert!(dropped.await.is_err(), "cancelled");
    }

    #[tokio::test(start_paused = true)]
    async fn c2_the_wait_for_a_connection_is_bounded() {
        let connections = Connections::of_pool(SPARE_CONNECTIONS + 2);
        let first = connections.acquire("first").await.expect("a connection");
        let _second = connections.acquire("second").await.expect("a connection");
        let asked_at = tokio::time::Instant::now();
        let refused = connections.acquire("third").await;
        assert!(matches!(refused, Err(StoreError::NoConnection { operation: "third", .. })), "{refused:?}");
        assert!((CONNECTION_WAIT..CONNECTION_WAIT * 2).contains(&asked_at.elapsed()));
        drop(first);
        drop(connections.acquire("third").await.expect("the connection that was given back"));
    }
}
