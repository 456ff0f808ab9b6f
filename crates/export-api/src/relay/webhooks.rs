//! Events on their way to addresses of clients.
//!
//! Receivers are strangers: any of them may be slow, or mean to be. So there are only so many tries at a time, for each host, each tenant
//! and in all, and what belongs to a host or a tenant that has its share is not even claimed.

use std::collections::HashMap;
use std::time::Duration;

use export_core::causes;
use export_mongo::{BackOff, Busy, Channel, Delivery, Failed, Outbox, PutOff, StoreError};
use export_webhooks::Answer;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{GRACE, WebhookRelay, wait};

/// How long a claim holds: a try takes fifteen seconds at most, and what comes of it must be written down.
const LEASE: Duration = Duration::from_mins(1);
/// Tries at a time in one process; each is a connection and a few kilobytes.
const AT_A_TIME: usize = 64;
/// Of these, for one tenant: whoever has many slow hosts is slow for himself.
const PER_TENANT: usize = 16;
/// And for one host.
const PER_HOST: usize = 4;
/// Whose a try is.
#[derive(Clone, Debug)]
struct Share {
    host: String,
    tenant: String,
}

/// The tries that are under way.
#[derive(Debug, Default)]
struct UnderWay {
    tries: JoinSet<Share>,
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

    fn begin(&mut self, share: Share, a_try: impl Future<Output = ()> + Send + 'static) {
        *self.by_host.entry(share.host.clone()).or_default() += 1;
        *self.by_tenant.entry(share.tenant.clone()).or_default() += 1;
        self.tries.spawn(async move {
            a_try.await;
            share
        });
    }

    /// Waits for one to end. `None`: there is none.
    async fn end_one(&mut self) -> Option<()> {
        match self.tries.join_next().await? {
            Ok(share) => {
                leave(&mut self.by_host, &share.host);
                leave(&mut self.by_tenant, &share.tenant);
            }
            // Nobody knows whose it was: all shares begin anew rather than staying taken for ever.
            Err(panic) => {
                warn!(error = %panic, "a webhook was not sent");
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
        let claimed = tokio::select! {
            () = stop.cancelled() => break,
            claimed = claim_all(outbox, relay, &mut under_way, &over) => claimed,
        };
        if let Err(error) = claimed {
            warn!(error = %causes(&error), "webhooks wait for MongoDB");
        }
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

/// Begins tries while there is room and something is due.
async fn claim_all(
    outbox: &Outbox,
    relay: &WebhookRelay,
    under_way: &mut UnderWay,
    over: &CancellationToken,
) -> Result<(), StoreError> {
    while under_way.tries.len() < AT_A_TIME {
        let Some(delivery) = outbox.claim(Channel::Webhook, LEASE, &under_way.busy()).await? else { break };
        let host = delivery.webhook_url.as_ref().map(|url| url.host().to_string()).unwrap_or_default();
        let share = Share { host, tenant: delivery.event.tenant.to_string() };
        let (outbox, relay, over) = (outbox.clone(), relay.clone(), over.clone());
        under_way.begin(share, async move {
            if let Err(error) = deliver(&outbox, &relay, &delivery, &over).await {
                // The claim runs out, and the webhook is sent again.
                warn!(event.id = delivery.event.id(), error = %causes(&error), "what became of a webhook could not be noted");
            }
        });
    }
    Ok(())
}

/// One try, and what comes of it. In the log is the host alone: the rest of the address may hold secrets.
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
        Answer::Hopeless { reason } => {
            outbox.give_up(delivery, &reason).await?;
            warn!(event.id = event_id, webhook.host = %host, attempts = delivery.attempts, reason, "a webhook was given up");
        }
    }
    Ok(())
}
