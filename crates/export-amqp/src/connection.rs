//! Connecting to the broker, and the timeout of every call.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_rs::Runtime;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::error::AmqpError;

/// Timeout of a call to the broker.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds between heartbeats on an idle connection, unless the URL sets them (`?heartbeat=`). Two
/// missed heartbeats end it.
const HEARTBEAT_SECONDS: u16 = 10;
/// How long an attempt to connect may stay without an answer before it is replaced by another one.
///
/// The driver leaks a thread for each attempt at a broker that accepts connections and never
/// answers, so there must not be one attempt per call.
const SILENCE_LIMIT: Duration = Duration::from_mins(1);

/// Connects to one broker, with at most one attempt at a time. Cheap to clone.
///
/// The driver's recovery is off: the owner of a connection rebuilds the connection, its channels
/// and consumers.
#[derive(Clone)]
pub(crate) struct Connector {
    url: SecretString,
    name: &'static str,
    attempt: Arc<Mutex<Option<Attempt>>>,
}

struct Attempt {
    connecting: JoinHandle<lapin::Result<Connection>>,
    since: Instant,
}

impl Connector {
    /// A connector to this URL. The broker shows `name` to its operators.
    pub(crate) fn new(url: SecretString, name: &'static str) -> Self {
        Self { url, name, attempt: Arc::new(Mutex::new(None)) }
    }

    /// Connects, or waits for the attempt that is running already.
    ///
    /// Cancel safety: dropping the future leaves the attempt running for the next caller.
    pub(crate) async fn connect(&self) -> Result<Connection, AmqpError> {
        let mut current = self.attempt.lock().await;
        if let Some(silent) = current.take_if(|attempt| attempt.since.elapsed() >= SILENCE_LIMIT) {
            silent.connecting.abort();
        }
        let attempt = match &mut *current {
            Some(attempt) => attempt,
            none => none.insert(self.begin()?),
        };
        let Ok(connected) = tokio::time::timeout(CALL_TIMEOUT, &mut attempt.connecting).await else {
            return Err(AmqpError::TimedOut { operation: "connecting" });
        };
        *current = None;
        match connected {
            Ok(connected) => connected.map_err(AmqpError::of_connecting),
            Err(panic) => Err(AmqpError::Driver { operation: "connecting", source: Box::new(panic) }),
        }
    }

    fn begin(&self) -> Result<Attempt, AmqpError> {
        let mut uri: AMQPUri = self.url.expose_secret().parse().map_err(|_| AmqpError::Url)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let properties = ConnectionProperties::default().with_connection_name(self.name.into());
        let connecting = Connection::connect_uri_with_runtime(uri, properties, Runtime::tokio_current());
        Ok(Attempt { connecting: tokio::spawn(connecting), since: Instant::now() })
    }
}

/// Runs a call to the broker with [`CALL_TIMEOUT`].
pub(crate) async fn limited<T>(
    operation: &'static str,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, AmqpError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(outcome) => outcome.map_err(AmqpError::driver(operation)),
        Err(_) => Err(AmqpError::TimedOut { operation }),
    }
}
