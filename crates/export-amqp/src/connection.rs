//! One way to connect, with a time limit on it.

use std::future::Future;
use std::time::Duration;

use async_rs::Runtime;
use lapin::{Connection, ConnectionProperties};
use secrecy::{ExposeSecret, SecretString};

use crate::error::AmqpError;

/// How long any call to the broker may take.
pub(crate) const CALL: Duration = Duration::from_secs(5);

/// Connects. Recovery by the driver is left off: what owns the connection rebuilds it and all that hangs on it.
pub(crate) async fn connect(url: &SecretString, name: &str) -> Result<Connection, AmqpError> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    limited(
        "connect",
        Connection::connect_with_runtime(url.expose_secret(), properties, Runtime::tokio_current()),
    )
    .await
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
