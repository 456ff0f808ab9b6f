//! The broker's alarms. While its memory or its disk is nearly used up, the broker reads nothing
//! from connections that publish, and says so on each of them with `connection.blocked`.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::{Connection, Event};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::error::AmqpError;

/// How long a message waits for the end of an alarm; shorter than the timeout of publishing.
const ALARM_WAIT: Duration = Duration::from_secs(3);

/// Whether the broker blocks one connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Alarm(watch::Receiver<Option<String>>);

impl Alarm {
    /// Follows the notices on this connection until all clones are dropped. The broker sends none
    /// to a connection that has not published since the alarm began. If the connection breaks, its
    /// alarm stays as it was last.
    pub(crate) fn follow(connection: &Connection) -> Self {
        let (current, alarm) = watch::channel(None);
        // The only listener: several would share the events.
        let mut events = Box::pin(connection.events_listener());
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = current.closed() => return,
                };
                match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        warn!(reason, "RabbitMQ has blocked publishing (connection.blocked); jobs wait");
                        current.send_replace(Some(reason));
                    }
                    Some(Event::ConnectionUnblocked) => {
                        info!("RabbitMQ accepts messages again (connection.unblocked)");
                        current.send_replace(None);
                    }
                    Some(_) => {}
                    None => return,
                }
            }
        });
        Self(alarm)
    }

    /// The error of a call that the broker does not read now.
    pub(crate) fn check(&self) -> Result<(), AmqpError> {
        match &*self.0.borrow() {
            Some(reason) => Err(AmqpError::Blocked { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Waits for the end of an alarm, at most [`ALARM_WAIT`].
    pub(crate) async fn ended(&mut self) -> Result<(), AmqpError> {
        let ended = tokio::time::timeout(ALARM_WAIT, self.0.wait_for(Option::is_none)).await.is_ok();
        if ended { Ok(()) } else { self.check() }
    }

    /// Waits for the beginning of an alarm, and returns its error.
    pub(crate) async fn began(&mut self) -> AmqpError {
        let reason = self.0.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => AmqpError::Blocked { reason },
            // The connection is lost: the call itself fails.
            None => std::future::pending().await,
        }
    }
}
