//! Sends webhooks.
//!
//! Isolation. Receivers are not trusted: any of them may be slow, even on purpose. So concurrent
//! attempts are bounded per host, per tenant and in total, and deliveries beyond a bound are not
//! claimed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use export_core::causes;
use export_store::{BackOff, Busy, Channel, Delivery, Due, Failed, Outbox, PutOff, StoreError};
use export_webhooks::Answer;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{GRACE, WebhookRelay, log_failure, wait};

/// Lease of a claim: an attempt takes at most fifteen seconds, plus the time to store its outcome.
const LEASE: Duration = Duration::from_mins(1);
/// Maximum number of deliveries in one check: more than can run, because some must be skipped.
const BATCH: usize = 200;
/// Maximum concurrent attempts of one process. Each needs a connection and a few kilobytes.
const MAX_CONCURRENT: usize = 64;
/// Maximum concurrent attempts of one tenant: a tenant's slow hosts delay only its own webhooks.
const MAX_PER_TENANT: usize = 16;
/// Maximum concurrent attempts of one host.
const MAX_PER_HOST: usize = 4;

/// The attempts in progress, counted by host and tenant.
#[derive(Debug, Default)]
struct Attempts {
    running: JoinSet<Due>,
    ids: HashSet<String>,
    by_host: HashMap<String, usize>,
    by_tenant: HashMap<String, usize>,
}

impl Attempts {
    /// The hosts and tenants that have reached their bound.
    fn busy(&self) -> Busy {
        let full = |counts: &HashMap<String, usize>, most: usize| {
            counts.iter().filter(|(_, count)| **count >= most).map(|(name, _)| name.clone()).collect()
        };
        Busy { hosts: full(&self.by_host, MAX_PER_HOST), tenants: full(&self.by_tenant, MAX_PER_TENANT) }
    }

    /// Whether this delivery may start. An attempt in progress may not have its claim yet, so its
    /// delivery can be found again; it is refused by its id.
    fn has_room_for(&self, due: &Due) -> bool {
        let count = |counts: &HashMap<String, usize>, name| counts.get(name).copied().unwrap_or_default();
        self.running.len() < MAX_CONCURRENT
            && count(&self.by_host, &due.host) < MAX_PER_HOST
            && count(&self.by_tenant, &due.tenant) < MAX_PER_TENANT
            && !self.ids.contains(&due.id)
    }

    fn start(&mut self, due: Due, attempt: impl Future<Output = ()> + Send + 'static) {
        self.ids.insert(due.id.clone());
        *self.by_host.entry(due.host.clone()).or_default() += 1;
        *self.by_tenant.entry(due.tenant.clone()).or_default() += 1;
        self.running.spawn(async move {
            attempt.await;
            due
        });
    }

    /// Waits for an attempt to end; `None` if none is in progress.
    async fn next_ended(&mut self) -> Option<()> {
        match self.running.join_next().await? {
            Ok(ended) => {
                self.ids.remove(&ended.id);
                decrement(&mut self.by_host, &ended.host);
                decrement(&mut self.by_tenant, &ended.tenant);
            }
            // The host and tenant of the task are unknown, so all counts are reset. Otherwise its
            // share would stay in use for ever.
            Err(panic) => {
                warn!(error = %panic, "a webhook attempt panicked");
                self.ids.clear();
                self.by_host.clear();
                self.by_tenant.clear();
            }
        }
        Some(())
    }
}

fn decrement(counts: &mut HashMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}

pub(super) async fn run(outbox: &Outbox, relay: &WebhookRelay, wake_up: &Notify, stop: &CancellationToken) {
    let mut attempts = Attempts::default();
    // Cancelled later than `stop`: attempts in progress get `GRACE`.
    let give_up = CancellationToken::new();
    while !stop.is_cancelled() {
        let started = tokio::select! {
            () = stop.cancelled() => break,
            started = start_due(outbox, relay, &mut attempts, &give_up) => started,
        };
        log_failure(started);
        // An attempt that ends may free a slot that other deliveries wait for.
        tokio::select! {
            _ = wait(stop, wake_up.notified()) => {}
            Some(()) = attempts.next_ended() => {}
        }
    }
    // Attempts in progress get a moment to end; then their deliveries are handed back.
    let ended = async { while attempts.next_ended().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        give_up.cancel();
        // Handing back is one operation of the store.
        let handed_back = async { while attempts.next_ended().await.is_some() {} };
        tokio::time::timeout(GRACE, handed_back).await.ok();
    }
}

/// Starts attempts of due deliveries within the bounds.
async fn start_due(
    outbox: &Outbox,
    relay: &WebhookRelay,
    attempts: &mut Attempts,
    give_up: &CancellationToken,
) -> Result<(), StoreError> {
    if attempts.running.len() >= MAX_CONCURRENT {
        return Ok(());
    }
    let mut due = outbox.due(Channel::Webhook, &attempts.busy(), BATCH).await?;
    // Shuffled, because other copies have the same list.
    fastrand::shuffle(&mut due);
    for due in due {
        if !attempts.has_room_for(&due) {
            continue;
        }
        let (outbox, relay, give_up, claimed) = (outbox.clone(), relay.clone(), give_up.clone(), due.clone());
        attempts.start(due, async move {
            if let Err(error) = attempt(&outbox, &relay, &claimed, &give_up).await {
                // The claim expires, and the webhook is sent again.
                warn!(delivery.id = claimed.id, error = %causes(&error), "failed to store the outcome of a webhook");
            }
        });
    }
    Ok(())
}

/// Claims the delivery and makes one attempt, unless another copy has claimed it.
async fn attempt(
    outbox: &Outbox,
    relay: &WebhookRelay,
    due: &Due,
    give_up: &CancellationToken,
) -> Result<(), StoreError> {
    match outbox.claim(due, LEASE).await? {
        Some(delivery) => deliver(outbox, relay, &delivery, give_up).await,
        None => Ok(()),
    }
}

/// Sends the webhook and stores the outcome. Logs only the host, because the rest of the URL may
/// contain secrets.
async fn deliver(
    outbox: &Outbox,
    relay: &WebhookRelay,
    delivery: &Delivery,
    give_up: &CancellationToken,
) -> Result<(), StoreError> {
    let event_id = delivery.event.id();
    let Some(url) = &delivery.webhook_url else {
        outbox.give_up(delivery, "the job has no webhook URL").await?;
        return Ok(());
    };
    let host = url.host();
    let answer = tokio::select! {
        () = give_up.cancelled() => return outbox.hand_back(delivery).await,
        answer = relay.webhooks.send(&delivery.event, url, delivery.claimed_at) => answer,
    };
    match answer {
        Answer::Delivered => {
            outbox.delivered(delivery).await?;
            info!(event.id = event_id, webhook.host = %host, attempts = delivery.attempts, "webhook delivered");
        }
        Answer::Failed { reason, at_least } => {
            let back_off = BackOff { policy: relay.retry, random: fastrand::f64() };
            let put_off = PutOff { back_off, at_least, give_up_after: relay.give_up_after };
            let is_given_up = outbox.failed(delivery, &reason, put_off).await? == Failed::GivenUp;
            warn!(event.id = event_id, webhook.host = %host, attempts = delivery.attempts, reason, is_given_up, "webhook not delivered");
        }
        Answer::Permanent { reason } => {
            outbox.give_up(delivery, &reason).await?;
            warn!(event.id = event_id, webhook.host = %host, attempts = delivery.attempts, reason, "webhook given up");
        }
    }
    Ok(())
}
