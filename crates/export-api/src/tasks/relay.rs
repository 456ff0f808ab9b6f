//! The relay: sends the events of ended jobs to the broker and to webhooks.
//!
//! It runs in the API because workers have no permission to publish. Any number of copies may run,
//! and any of them may die at any moment: its deliveries are sent again, with the same ids.
//! Collecting events, publishing to the broker and sending webhooks are separate loops, so that a
//! slow receiver or an unavailable broker delays nothing else.

mod amqp;
mod webhooks;

use std::future::pending;
use std::time::Duration;

use export_amqp::Publisher;
use export_core::causes;
use export_core::job::RetryPolicy;
use export_store::{Channel, Due, Outbox, StoreError};
use export_webhooks::Webhooks;
use futures_util::stream::{self, StreamExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Mean time between two checks of the outbox. Each wait is randomly between 0.5 and 1.5 times as
/// long, so that copies do not run in step. A check usually reads one empty index.
const INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of batches of events in one check.
const MAX_BATCHES_PER_CHECK: usize = 100;
/// Maximum number of tenants whose deliveries one check looks for; they are chosen at random.
const MAX_TENANTS_PER_CHECK: usize = 64;
/// Minimum number of deliveries that one check looks for, of each of these tenants.
const MIN_PER_TENANT: usize = 4;
/// Concurrent searches for the deliveries of one tenant.
const CONCURRENT_SEARCHES: usize = 4;
/// Maximum time that deliveries may continue after the stop signal. Client requests have eight
/// seconds.
const GRACE: Duration = Duration::from_secs(2);

/// Relays events from the outbox.
#[derive(Clone, Debug)]
pub struct Relay {
    /// The events to be sent.
    pub outbox: Outbox,
    /// Publishes events to the broker. Separate from the publisher of jobs, so that a problem with
    /// the exchange of events does not delay jobs.
    pub publisher: Publisher,
    /// Sends webhooks; `None` if they are not configured, and then existing deliveries wait.
    pub webhooks: Option<WebhookRelay>,
}

/// Sends webhooks with retries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WebhookRelay {
    /// The sender.
    pub webhooks: Webhooks,
    /// Back-off after a failed attempt.
    pub retry: RetryPolicy,
    /// Time after the first attempt at which a delivery is given up.
    pub give_up_after: Duration,
}

/// Wakes the sending loops when there are new deliveries.
#[derive(Debug, Default)]
struct WakeUps {
    amqp: Notify,
    webhooks: Notify,
}

impl Relay {
    /// Relays until `stop`. Deliveries in progress get [`GRACE`]; other copies send the rest.
    pub async fn run(self, stop: CancellationToken) {
        let wake_ups = WakeUps::default();
        let collecting = self.collect_until(&stop, &wake_ups);
        let publishing = amqp::run(&self.outbox, &self.publisher, &wake_ups.amqp, &stop);
        let sending = async {
            if let Some(webhooks) = &self.webhooks {
                webhooks::run(&self.outbox, webhooks, &wake_ups.webhooks, &stop).await;
            }
        };
        tokio::join!(collecting, publishing, sending);
    }

    /// Collects until `stop`.
    ///
    /// Cancel safety. A cancelled collection loses and duplicates nothing.
    async fn collect_until(&self, stop: &CancellationToken, wake_ups: &WakeUps) {
        while wait(stop, pending()).await {
            tokio::select! {
                () = stop.cancelled() => return,
                collected = self.collect(wake_ups) => log_failure(collected),
            }
        }
    }

    /// Moves events from jobs into the outbox.
    async fn collect(&self, wake_ups: &WakeUps) -> Result<(), StoreError> {
        for _ in 0..MAX_BATCHES_PER_CHECK {
            if self.outbox.collect().await? == 0 {
                break;
            }
            wake_ups.amqp.notify_one();
            wake_ups.webhooks.notify_one();
        }
        Ok(())
    }
}

/// Deliveries that are due, a few of each tenant; at most `limit` of a tenant alone, and at least
/// [`MIN_PER_TENANT`] of each of up to [`MAX_TENANTS_PER_CHECK`] tenants. Tenants whose search fails
/// wait for the next check.
///
/// # Errors
/// If no search succeeds.
async fn due_in_turns(
    outbox: &Outbox,
    channel: Channel,
    limit: usize,
    busy: impl Fn(&str) -> BusyReceivers,
) -> Result<Vec<Due>, StoreError> {
    let tenants = outbox.tenants_with_due(channel).await?.into_iter();
    let open = tenants.map(|tenant| (busy(&tenant), tenant)).filter(|(busy, _)| !busy.is_full);
    let open: Vec<_> = open.take(MAX_TENANTS_PER_CHECK).collect();
    let of_each = (limit / open.len().max(1)).max(MIN_PER_TENANT);
    let find = |(busy, tenant): (BusyReceivers, String)| async move {
        outbox.due_of(channel, &tenant, &busy.hosts, of_each).await
    };
    let searches = stream::iter(open.into_iter().map(find)).buffer_unordered(CONCURRENT_SEARCHES);
    let mut due = found_by(searches.collect().await)?;
    // Shuffled, because other copies have the same list.
    fastrand::shuffle(&mut due);
    Ok(due)
}

/// What the searches have found. A failure matters only if all have failed.
fn found_by(searches: Vec<Result<Vec<Due>, StoreError>>) -> Result<Vec<Due>, StoreError> {
    let (found, failed): (Vec<_>, Vec<_>) = searches.into_iter().partition(Result::is_ok);
    let found: Vec<Vec<Due>> = found.into_iter().flatten().collect();
    let (failed_searches, first) = (failed.len(), failed.into_iter().find_map(Result::err));
    match first {
        Some(error) if found.is_empty() => return Err(error),
        Some(error) => {
            warn!(failed_searches, error = %causes(&error), "cannot find the deliveries of some tenants; they wait");
        }
        None => {}
    }
    Ok(found.concat())
}

/// What a tenant may not be sent to now.
#[derive(Debug, Default)]
struct BusyReceivers {
    /// The tenant has its maximum of attempts.
    is_full: bool,
    /// Hosts that have their maximum of attempts.
    hosts: Vec<String>,
}

fn log_failure(outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        warn!(error = %causes(&error), "cannot relay events: MongoDB is unavailable; they wait");
    }
}

/// Waits for the next check: a wake-up or the interval. `false` after the stop signal.
async fn wait(stop: &CancellationToken, wake_up: impl Future<Output = ()>) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = wake_up => true,
        () = tokio::time::sleep(INTERVAL.mul_f64(0.5 + fastrand::f64())) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c10_a_failed_search_of_one_tenant_costs_the_others_nothing() {
        let failed = || Err(StoreError::TimedOut { operation: "find deliveries", seconds: 10 });
        let due = Due { id: "1".to_owned(), host: "a".to_owned(), tenant: "b".to_owned() };
        assert_eq!(found_by(vec![failed(), Ok(vec![due.clone()]), failed()]).expect("found"), [due]);
        assert_eq!(found_by(vec![failed(), Ok(Vec::new())]).expect("found"), []);
        assert_eq!(found_by(Vec::new()).expect("found"), []);
        assert!(found_by(vec![failed(), failed()]).is_err());
    }
}
