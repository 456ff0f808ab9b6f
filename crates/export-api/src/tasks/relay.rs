//! The relay: tells others that a job has ended, by the broker and by webhooks.
//!
//! It lives in the API for the sweeper's reason: workers may not publish. Any number of copies may run, and any of them may die at any
//! moment: what it had is sent again, with the same id. Announcements, the broker's events and webhooks are loops of their own, so that
//! nothing waits behind a receiver that is slow, or a broker that is away.

mod amqp;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use export_amqp::Publisher;
use export_core::causes;
use export_core::job::RetryPolicy;
use export_store::{Outbox, StoreError};
use export_webhooks::Webhooks;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Mean time between looks; each wait is between half and one and a half of it, so that copies do not march in step. A look is an
/// empty index, mostly.
const INTERVAL: Duration = Duration::from_secs(1);
/// Most batches of announcements in one look.
const BATCHES_PER_LOOK: usize = 100;
/// How long what is on its way may go on after the stop signal. Requests of clients have eight seconds.
const GRACE: Duration = Duration::from_secs(2);

/// What relaying needs.
#[derive(Clone, Debug)]
pub struct Relay {
    /// What is to be told.
    pub outbox: Outbox,
    /// Sends events to the broker. One of its own: what goes wrong with the exchange of events must not hold jobs up.
    pub publisher: Publisher,
    /// Sends webhooks, where that is configured. Where it is not, deliveries that are left from before wait.
    pub webhooks: Option<WebhookRelay>,
}

/// What relaying to addresses of clients needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WebhookRelay {
    /// Sends webhooks.
    pub webhooks: Webhooks,
    /// How long one that was not delivered waits.
    pub retry: RetryPolicy,
    /// How long after the first try it is given up.
    pub give_up_after: Duration,
}

/// Wakes those who send when there is something to send.
#[derive(Clone, Debug, Default)]
struct Bell {
    amqp: Arc<Notify>,
    webhooks: Arc<Notify>,
}

impl Relay {
    /// Relays until `stop`. What is on its way then is given a moment, and otherwise left to others.
    pub async fn run(self, stop: CancellationToken) {
        let bell = Bell::default();
        let collecting = self.collect_until(&stop, &bell);
        let publishing = amqp::run(&self.outbox, &self.publisher, &bell.amqp, &stop);
        let sending = async {
            if let Some(webhooks) = &self.webhooks {
                webhooks::run(&self.outbox, webhooks, &bell.webhooks, &stop).await;
            }
        };
        tokio::join!(collecting, publishing, sending);
    }

    /// Broken off half-way, collecting loses nothing and doubles nothing.
    async fn collect_until(&self, stop: &CancellationToken, bell: &Bell) {
        while wait(stop, None).await {
            tokio::select! {
                () = stop.cancelled() => return,
                collected = self.collect(bell) => tell(collected),
            }
        }
    }

    /// Takes announcements out of jobs.
    async fn collect(&self, bell: &Bell) -> Result<(), StoreError> {
        for _ in 0..BATCHES_PER_LOOK {
            if self.outbox.collect().await? == 0 {
                break;
            }
            bell.amqp.notify_one();
            bell.webhooks.notify_one();
        }
        Ok(())
    }
}

fn tell(outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        warn!(error = %causes(&error), "events wait for MongoDB");
    }
}

/// Waits for the next look; whether there is one.
async fn wait(stop: &CancellationToken, bell: Option<&Notify>) -> bool {
    let rung = async {
        match bell {
            Some(bell) => bell.notified().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop.cancelled() => false,
        () = rung => true,
        () = tokio::time::sleep(INTERVAL.mul_f64(0.5 + fastrand::f64())) => true,
    }
}
