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
    /// A queue or exchange is there, but made in another way.
    #[error(
        "{name} is there with other arguments than this version wants: delete it (messages only wake workers up; the API \
         publishes waiting jobs again) and run `exports provision` again"
    )]
    OtherArguments {
        /// The queue or exchange.
        name: String,
        /// The driver's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A user's URL names another virtual host than the administrator's, where the queues are.
    #[error("user {user} is meant for another virtual host than that of RABBITMQ_URL, where the queues are")]
    OtherVirtualHost {
        /// The user's name.
        user: String,
    },
    /// The management API said no.
    #[error(
        "RabbitMQ's management API did not do it: {operation} (HTTP status {status}); it takes an administrator"
    )]
    Management {
        /// What was tried.
        operation: &'static str,
        /// The answer's status.
        status: u16,
    },
    /// The broker could not keep the message.
    #[error("RabbitMQ refused the message")]
    Refused,
}

/// AMQP's code for a declaration that does not fit what is there.
const PRECONDITION_FAILED: u16 = 406;

impl AmqpError {
    /// Whether waiting cannot help: somebody has to change something first.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::OtherArguments { .. } | Self::OtherVirtualHost { .. } => true,
            Self::Management { status, .. } => (400..500).contains(status),
            _ => false,
        }
    }

    /// The error of a declaration.
    pub(crate) fn of_declaration(self, name: &str) -> Self {
        match self {
            Self::Driver { source, .. } if is_precondition_failed(&*source) => {
                Self::OtherArguments { name: name.to_owned(), source }
            }
            error => error,
        }
    }

    pub(crate) fn driver(operation: &'static str) -> impl FnOnce(lapin::Error) -> Self {
        move |error| Self::Driver { operation, source: Box::new(error) }
    }
}

fn is_precondition_failed(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let kind = error.downcast_ref::<lapin::Error>().map(lapin::Error::kind);
    matches!(kind, Some(lapin::ErrorKind::ProtocolError(error)) if error.get_id() == PRECONDITION_FAILED)
}
