//! Events on their way to addresses of clients.
//!
//! Receivers are strangers: any of them may be slow, or mean to be. So there are only so many tries at a time, for each host, each tenant
//! and in all, and what belongs to a host or a tenant that has its share is not even claimed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use export_core::causes;
use export_store::{BackOff, Busy, Channel, Delivery, Due, Failed, Outbox, PutOff, StoreError};
use export_webhooks::Answer;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{GRACE, WebhookRelay, tell, wait};

/// How long a claim holds: a try takes fifteen seconds at most, and what comes of it must be written down.
const LEASE: Duration = Duration::from_mins(1);
/// Most deliveries in one look: more than there is room for, as some of them have to be passed over.
const BATCH: usize = 200;
/// Tries at a time in one process; each is a connection and a few kilobytes.
const AT_A_TIME: usize = 64;
/// Of these, for one tenant: whoever has many slow hosts is slow for himself.
const PER_TENANT: usize = 16;
/// And for one host.
const PER_HOST: usize = 4;
/// The tries that are under way, by what they share.
#[derive(Debug, Default)]
struct UnderWay {
    tries: JoinSet<Due>,
    ids: HashSet<String>,
    by_host: HashMap<String, usize>,
    by_tenant: HashMap<String, usize>,
}

impl UnderWay {
    /// Who has as many as he may.
    fn busy(&self) -> Busy {
        let full = |counts: &HashMap<String, usize>, most: usize| {
            counts.iter().filter(|(_, count)| **count >= most).map(|(name, _)| name.clone()).collect()
        };
        Busy { hosts: full(&self.by_host, PER_HOST), tenants: full(&self.by_tenant, PER_TENANT) }
    }

    /// Whether there is room for this one. What is under way may not be claimed yet, and so be found again.
    fn has_room_for(&self, due: &Due) -> bool {
        let count = |counts: &HashMap<String, usize>, name| counts.get(name).copied().unwrap_or_default();
        self.tries.len() < AT_A_TIME
            && count(&self.by_host, &due.host) < PER_HOST
            && count(&self.by_tenant, &due.tenant) < PER_TENANT
            && !self.ids.contains(&due.id)
    }

    fn begin(&mut self, due: Due, a_try: impl Future<Output = ()> + Send + 'static) {
        self.ids.insert(due.id.clone());
        *self.by_host.entry(due.host.clone()).or_default() += 1;
        *self.by_tenant.entry(due.tenant.clone()).or_default() += 1;
        self.tries.spawn(async move {
            a_try.await;
            due
        });
    }

    /// Waits for one to end. `None`: there is none.
    async fn end_one(&mut self) -> Option<()> {
        match self.tries.join_next().await? {
            Ok(ended) => {
                self.ids.remove(&ended.id);
                leave(&mut self.by_host, &ended.host);
                leave(&mut self.by_tenant, &ended.tenant);
            }
            // Nobody knows whose it was: all shares begin anew rather than staying taken for ever.
            Err(panic) => {
                warn!(error = %panic, "a webhook was not sent");
                self.ids.clear();
                self.by_host.clear();
                self.by_tenant.clear();
            }
        }
        Some(())
    }
}

fn leave(counts: &mut HashMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}

pub(super) async fn run(outbox: &Outbox, relay: &WebhookRelay, bell: &Notify, stop: &CancellationToken) {
    let mut under_way = UnderWay::default();
    // Told a moment later than everybody else: for tries that are under way.
    let over = CancellationToken::new();
    while !stop.is_cancelled() {
        let begun = tokio::select! {
            () = stop.cancelled() => break,
            begun = begin_all(outbox, relay, &mut under_way, &over) => begun,
        };
        tell(begun);
        // A try that ends makes room, and may be the one that others wait behind.
        tokio::select! {
            _ = wait(stop, Some(bell)) => {}
            Some(()) = under_way.end_one() => {}
        }
    }
    // What goes on is given a moment; then it is handed back.
    let ended = async { while under_way.end_one().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        over.cancel();
        // Handing back is bounded by the store's own limits, and needs no more than one step of it.
        let handed_back = async { while under_way.end_one().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, handed_back).await;
    }
}

/// Begins tries of what is due, as far as there is room.
async fn begin_all(
    outbox: &Outbox,
    relay: &WebhookRelay,
    under_way: &mut UnderWay,
    over: &CancellationToken,
) -> Result<(), StoreError> {
    if under_way.tries.len() >= AT_A_TIME {
        return Ok(());
    }
    let mut due = outbox.due(Channel::Webhook, &under_way.busy(), BATCH).await?;
    // Other relays have the same list.
    fastrand::shuffle(&mut due);
    for due in due {
        if !under_way.has_room_for(&due) {
            continue;
        }
        let (outbox, relay, over, claimed) = (outbox.clone(), relay.clone(), over.clone(), due.clone());
        under_way.begin(due, async move {
            if let Err(error) = a_try(&outbox, &relay, &claimed, &over).await {
                // The claim runs out, and the webhook is sent again.
                warn!(delivery.id = claimed.id, error = %causes(&error), "what became of a webhook could not be noted");
            }
        });
    }
    Ok(())
}

/// One try, unless another relay makes it.
async fn a_try(
    outbox: &Outbox,
    relay: &WebhookRelay,
    due: &Due,
    over: &CancellationToken,
) -> Result<(), StoreError> {
    match outbox.claim(due, LEASE).await? {
        Some(delivery) => deliver(outbox, relay, &delivery, over).await,
        None => Ok(()),
    }
}

/// Sends it, and notes what comes of it. In the log is the host alone: the rest of the address may hold secrets.
async fn deliver(
    outbox: &Outbox,
    relay: &WebhookRelay,
    delivery: &Delivery,
    over: &CancellationToken,
) -> Result<(), StoreError> {
    let event_id = delivery.event.id();
    let Some(url) = &delivery.webhook_url else {
        outbox.give_up(delivery, "there is no address").await?;
        return Ok(());
    };
    let host = url.host();
    let answer = tokio::select! {
        () = over.cancelled() => return outbox.hand_back(delivery).await,
        answer = relay.webhooks.send(&delivery.event, url, delivery.claimed_at) => answer,
    };
    match answer {
        Answer::Delivered => {
            outbox.delivered(delivery).await?;
            info!(event.id = event_id, webhook.host = %host, attempts = delivery.attempts, "a webhook was delivered");
        }
        Answer::Failed { reason, at_least } => {
            let back_off = BackOff { policy: relay.retry, random: fastrand::f64() };
            let put_off = PutOff { back_off, at_least, give_up_after: relay.give_up_after };
            let is_given_up = outbox.failed(delivery, &reason, put_off).await? == Failed::GivenUp;
            warn!(event.id = event_id, webhook.host = %host, attempts = delivery.attempts, reason, is_given_up, "a webhook was not delivered");
        }
        Answer::Permanent { reason } => {
            outbox.give_up(delivery, &reason).await?;
            warn!(event.id = event_id, webhook.host = %host, attempts = delivery.attempts, reason, "a webhook was given up");
        }
    }
    Ok(())
}
