//! Sends webhooks.
//!
//! Isolation. Receivers are not trusted: any of them may be slow, even on purpose. So concurrent
//! attempts are bounded per host, per tenant and in total, and deliveries beyond a bound are not
//! claimed. A tenant without an attempt in progress always gets one: its first attempt may exceed
//! the bounds that other tenants have used up.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use export_core::causes;
use export_store::{BackOff, Channel, Delivery, Due, Failed, Outbox, PutOff, StoreError};
use export_webhooks::Answer;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{BusyReceivers, GRACE, WebhookRelay, due_in_turns, log_failure, wait};

/// Lease of a claim: an attempt takes at most fifteen seconds, plus the time to store its outcome.
const LEASE: Duration = Duration::from_mins(1);
/// Maximum number of deliveries in one check: more than can run, because some must be skipped.
const BATCH: usize = 200;
/// Maximum concurrent attempts of one process. Each needs a connection and a few kilobytes.
const MAX_CONCURRENT: usize = 64;
/// Further attempts for tenants that have none in progress.
const MAX_FIRST_ATTEMPTS: usize = 64;
/// Maximum concurrent attempts of one tenant: a tenant's slow hosts delay only its own webhooks.
const MAX_PER_TENANT: usize = 16;
/// Maximum concurrent attempts of one host. A tenant without an attempt there may exceed it by one.
const MAX_PER_HOST: usize = 4;

/// The attempts in progress, counted by host and tenant.
#[derive(Debug, Default)]
struct Attempts {
    running: JoinSet<Due>,
    ids: HashSet<String>,
    by_host: HashMap<String, usize>,
    by_tenant: HashMap<String, usize>,
    by_host_and_tenant: HashMap<(String, String), usize>,
}

impl Attempts {
    /// What this tenant may not be sent to now.
    fn busy(&self, tenant: &str) -> BusyReceivers {
        let full_hosts = self.by_host.keys().filter(|host| !self.has_room_at(host, tenant));
        BusyReceivers { is_full: !self.has_room_of(tenant), hosts: full_hosts.cloned().collect() }
    }

    /// Whether an attempt of this tenant may start.
    fn has_room_of(&self, tenant: &str) -> bool {
        match self.by_tenant.get(tenant) {
            None => self.running.len() < MAX_CONCURRENT + MAX_FIRST_ATTEMPTS,
            Some(count) => self.running.len() < MAX_CONCURRENT && *count < MAX_PER_TENANT,
        }
    }

    /// Whether an attempt of this tenant at this host may start.
    fn has_room_at(&self, host: &str, tenant: &str) -> bool {
        self.by_host.get(host).is_none_or(|count| *count < MAX_PER_HOST)
            || !self.by_host_and_tenant.contains_key(&(host.to_owned(), tenant.to_owned()))
    }

    /// Whether this delivery may start. An attempt in progress may not have its claim yet, so its
    /// delivery can be found again; it is refused by its id.
    fn has_room_for(&self, due: &Due) -> bool {
        self.has_room_of(&due.tenant)
            && self.has_room_at(&due.host, &due.tenant)
            && !self.ids.contains(&due.id)
    }

    fn start(&mut self, due: Due, attempt: impl Future<Output = ()> + Send + 'static) {
        self.ids.insert(due.id.clone());
        *self.by_host.entry(due.host.clone()).or_default() += 1;
        *self.by_tenant.entry(due.tenant.clone()).or_default() += 1;
        *self.by_host_and_tenant.entry((due.host.clone(), due.tenant.clone())).or_default() += 1;
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
                decrement(&mut self.by_host_and_tenant, &(ended.host, ended.tenant));
            }
            // The host and tenant of the task are unknown, so all counts are reset. Otherwise its
            // share would stay in use for ever.
            Err(panic) => {
                warn!(error = %panic, "a webhook attempt panicked");
                self.ids.clear();
                self.by_host.clear();
                self.by_tenant.clear();
                self.by_host_and_tenant.clear();
            }
        }
        Some(())
    }
}

fn decrement<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
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
    let due = due_in_turns(outbox, Channel::Webhook, BATCH, |tenant| attempts.busy(tenant)).await?;
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
