//! What can go wrong with the broker.

/// An operation on the broker failed.
#[derive(Debug, thiserror::Error)]
pub enum AmqpError {
    /// The broker refused, failed or was not there.
    #[error("RabbitMQ did not do it: {operation}")]
    Driver {
        /// What was tried.
        operation: &'static str,
        /// The driver's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time. Whether it happened is not known.
    #[error("RabbitMQ did not answer in time: {operation}")]
    TimedOut {
        /// What was tried.
        operation: &'static str,
    },
    /// The broker took the message but no queue wanted it.
    #[error("no queue is bound to exchange {exchange}: run `exports provision`")]
    Unroutable {
        /// The exchange.
        exchange: String,
    },
    /// The broker's URL is none.
    #[error("the RabbitMQ URL cannot be used")]
    Url,
    /// Connecting has just failed; the next attempt is not due yet.
    #[error("RabbitMQ could not be reached a moment ago")]
    Resting,
    /// The broker could not keep the message.
    #[error("RabbitMQ refused the message")]
    Refused,
}

impl AmqpError {
    pub(crate) fn driver(operation: &'static str) -> impl FnOnce(lapin::Error) -> Self {
        move |error| Self::Driver { operation, source: Box::new(error) }
    }
}
