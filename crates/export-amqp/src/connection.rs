//! One way to connect, with a time limit on it.

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

/// How long any call to the broker may take.
pub(crate) const CALL: Duration = Duration::from_secs(5);
/// Seconds between signs of life on an idle connection, unless the URL has its own (`?heartbeat=`). Two missed ones end it.
const HEARTBEAT_SECONDS: u16 = 10;
/// How long an attempt to connect that got no answer is waited for before another one is made.
///
/// The driver leaves a thread behind for each attempt at a broker that accepts connections and then says nothing, so there must
/// not be one per call.
const SILENCE: Duration = Duration::from_mins(1);

/// Connects to one broker, at most one attempt at a time. Cheap to clone.
///
/// Recovery by the driver is left off: what owns a connection rebuilds it and all that hangs on it.
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
    /// Connects to this URL, under a name that the broker shows to its operators.
    pub(crate) fn new(url: SecretString, name: &'static str) -> Self {
        Self { url, name, attempt: Arc::new(Mutex::new(None)) }
    }

    /// Connects, or goes on waiting for an attempt that has not come back yet.
    ///
    /// A caller that gives up leaves the attempt where the next one finds it.
    pub(crate) async fn connect(&self) -> Result<Connection, AmqpError> {
        let mut current = self.attempt.lock().await;
        if let Some(silent) = current.take_if(|attempt| attempt.since.elapsed() >= SILENCE) {
            silent.connecting.abort();
        }
        let attempt = match &mut *current {
            Some(attempt) => attempt,
            none => none.insert(self.begin()?),
        };
        let Ok(connected) = tokio::time::timeout(CALL, &mut attempt.connecting).await else {
            return Err(AmqpError::TimedOut { operation: "connect" });
        };
        *current = None;
        match connected {
            Ok(connected) => connected.map_err(AmqpError::driver("connect")),
            Err(panic) => Err(AmqpError::Driver { operation: "connect", source: Box::new(panic) }),
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

/// Puts the time limit on a call.
pub(crate) async fn limited<T>(
    operation: &'static str,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, AmqpError> {
    match tokio::time::timeout(CALL, call).await {
        Ok(outcome) => outcome.map_err(AmqpError::driver(operation)),
        Err(_) => Err(AmqpError::TimedOut { operation }),
    }
}
