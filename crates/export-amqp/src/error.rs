//! Errors of the broker.

/// An operation on the broker failed.
#[derive(Debug, thiserror::Error)]
pub enum AmqpError {
    /// The broker refused, failed or could not be reached.
    #[error("RabbitMQ failed: {operation}")]
    Driver {
        /// What failed, such as `publishing`.
        operation: &'static str,
        /// The driver's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time. The operation may have happened.
    #[error("RabbitMQ timeout: {operation}")]
    TimedOut {
        /// What failed, such as `publishing`.
        operation: &'static str,
    },
    /// The broker accepted the message, but no queue is bound for it.
    #[error("no queue is bound to exchange {exchange}: run `exports provision`")]
    Unroutable {
        /// The exchange.
        exchange: String,
    },
    /// The broker's URL is not valid.
    #[error("the RabbitMQ URL is not valid")]
    Url,
    /// The broker knows no such user, or the password is another one.
    #[error("RabbitMQ refused the user name or the password")]
    WrongCredentials,
    /// The virtual host does not exist, or the user may not use it.
    #[error("RabbitMQ refused the virtual host: it does not exist, or the user may not use it")]
    NoVirtualHost,
    /// Connecting failed less than a second ago; the next attempt is not due yet.
    #[error("RabbitMQ was unreachable less than a second ago; not trying again yet")]
    BackingOff,
    /// A queue or exchange exists with other arguments.
    #[error(
        "{name} exists with other arguments than this version needs: delete it (messages only wake workers up; the API \
         publishes waiting jobs again) and run `exports provision` again"
    )]
    OtherArguments {
        /// The queue or exchange.
        name: String,
        /// The driver's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A user's URL names another virtual host than the administrator's URL.
    #[error("the URL of user {user} names another virtual host than RABBITMQ_URL, which has the queues")]
    OtherVirtualHost {
        /// The user's name.
        user: String,
    },
    /// The management API refused.
    #[error(
        "RabbitMQ's management API failed: {operation} (HTTP status {status}); it needs an administrator"
    )]
    Management {
        /// What failed, such as `publishing`.
        operation: &'static str,
        /// The status of the answer.
        status: u16,
    },
    /// The broker has an alarm: its memory or its disk is nearly used up.
    #[error(
        "RabbitMQ has blocked publishing (connection.blocked): {reason}; give the broker more memory or disk, or empty \
         its queues"
    )]
    Blocked {
        /// The broker's reason, such as `low on memory`.
        reason: String,
    },
    /// The broker could not store the message.
    #[error("RabbitMQ refused the message")]
    Refused,
}

/// AMQP's code for a user that the broker does not let in.
const ACCESS_REFUSED: u16 = 403;
/// AMQP's code for a declaration that differs from the existing queue or exchange.
const PRECONDITION_FAILED: u16 = 406;
/// AMQP's code for a virtual host that cannot be used.
const NOT_ALLOWED: u16 = 530;

impl AmqpError {
    /// Whether retrying cannot help until a person changes something.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::OtherArguments { .. }
            | Self::OtherVirtualHost { .. }
            | Self::WrongCredentials
            | Self::NoVirtualHost => true,
            Self::Management { status, .. } => (400..500).contains(status),
            _ => false,
        }
    }

    /// This error, or [`Self::OtherArguments`] if a declaration differs from what exists under
    /// `name`.
    pub(crate) fn of_declaration(self, name: &str) -> Self {
        match self {
            Self::Driver { source, .. } if has_code(&*source, PRECONDITION_FAILED) => {
                Self::OtherArguments { name: name.to_owned(), source }
            }
            error => error,
        }
    }

    /// The error of an attempt to connect.
    pub(crate) fn of_connecting(error: lapin::Error) -> Self {
        if has_code(&error, ACCESS_REFUSED) {
            Self::WrongCredentials
        } else if has_code(&error, NOT_ALLOWED) {
            Self::NoVirtualHost
        } else {
            Self::Driver { operation: "connecting", source: Box::new(error) }
        }
    }

    pub(crate) fn driver(operation: &'static str) -> impl FnOnce(lapin::Error) -> Self {
        move |error| Self::Driver { operation, source: Box::new(error) }
    }
}

fn has_code(error: &(dyn std::error::Error + 'static), code: u16) -> bool {
    let kind = error.downcast_ref::<lapin::Error>().map(lapin::Error::kind);
    matches!(kind, Some(lapin::ErrorKind::ProtocolError(error)) if error.get_id() == code)
}
