//! Wakes the subscribers of a job when the job may have changed.
//!
//! One change stream per process follows the collection `jobs`, only while there are subscribers,
//! and reads only the ids of changed jobs. A wake-up means "read the job again" and carries no
//! content, so correctness does not depend on the stream:
//!
//! - a subscriber reads the job once after subscribing,
//! - all subscribers are woken when a stream opens, because it does not contain earlier changes,
//! - all subscribers are woken every second while there is no stream, and every ten seconds while
//!   there is one.
//!
//! Therefore a broken stream is reopened without a resume token.

mod hub;

use std::sync::Arc;
use std::time::Duration;

use bson::doc;
use export_core::{JobId, causes};
use export_mongo::Documents;
use mongodb::error::Error;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::jobs::JobStore;
use hub::Hub;
pub use hub::Subscription;

/// How long the server waits for a change before it answers. An unneeded stream ends within this
/// time.
const LONGEST_ANSWER: Duration = Duration::from_secs(1);
/// A stream without any answer for this long counts as broken.
const SILENCE: Duration = Duration::from_secs(4);
/// A silent stream is aborted after this time, because the driver has no timeout for it.
const GIVE_UP: Duration = Duration::from_secs(15);
/// Delay before a stream is opened again: the first one, and the longest; it doubles with each
/// failure.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// Polling wakes a share of the subscribers per tick, so that they do not all read at once.
const TICK: Duration = Duration::from_millis(250);
/// Number of ticks in which all subscribers are woken: one second without a stream, ten seconds
/// with one.
const SHARES_WITHOUT_STREAM: u64 = 4;
const SHARES_BESIDE_STREAM: u64 = 40;

/// The change notifications of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Changes {
    hub: Arc<Hub>,
    jobs: Documents,
}

impl Changes {
    /// The changes of this store's jobs. Subscribers are woken only while [`Changes::run`] runs.
    pub fn of(store: &JobStore) -> Self {
        Self { hub: Arc::default(), jobs: store.jobs.clone() }
    }

    /// Subscribes to changes of this job. Read the job after subscribing, not before. `None` when
    /// there are too many subscriptions, or after [`Changes::run`] has ended.
    pub fn subscribe(&self, job_id: JobId) -> Option<Subscription> {
        Hub::subscribe(&self.hub, job_id)
    }

    /// Subscribes to changes of all jobs, and keeps the stream open until the subscription is
    /// dropped. Such a subscriber is not woken while there is no stream, so it must poll as well.
    pub fn subscribe_to_any(&self) -> Subscription {
        Hub::subscribe_to_any(&self.hub)
    }

    /// Wakes subscribers until `stop`, and then wakes all of them for the last time.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.follow() => {}
            () = self.wake_periodically() => {}
        }
        self.hub.close();
    }

    /// Keeps a stream open while there are subscribers.
    async fn follow(&self) {
        let mut delay = FIRST_DELAY;
        loop {
            self.hub.until_subscribed().await;
            let stream = tokio::spawn(follow_once(self.jobs.clone(), Arc::clone(&self.hub)));
            let end = self.end_of(stream).await;
            let was_open = self.hub.stream_ended();
            let Err(error) = end else { continue };
            if was_open {
                warn!(error, "the change stream of jobs broke; polling jobs until it is open again");
                delay = FIRST_DELAY;
            } else {
                debug!(error, "opening a change stream of jobs failed; polling jobs until it is open");
            }
            tokio::time::sleep(delay.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    /// Waits for the end of a stream: `Ok` when it has no subscribers any more, an error when it
    /// broke.
    async fn end_of(&self, mut stream: JoinHandle<Result<(), Error>>) -> Result<(), String> {
        loop {
            match tokio::time::timeout(SILENCE, &mut stream).await {
                Ok(Ok(Ok(()))) => return Ok(()),
                Ok(Ok(Err(error))) => return Err(causes(&error)),
                Ok(Err(panic)) => return Err(causes(&panic)),
                Err(_) if self.hub.is_stuck_for(GIVE_UP) => {
                    stream.abort();
                    return Err("no answer for too long".to_owned());
                }
                Err(_) => {}
            }
        }
    }

    async fn wake_periodically(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for tick in 0_u64.. {
            ticks.tick().await;
            let has_stream = self.hub.was_heard_within(SILENCE);
            let shares = if has_stream { SHARES_BESIDE_STREAM } else { SHARES_WITHOUT_STREAM };
            self.hub.wake_share(tick % shares, shares);
        }
    }
}

/// Opens a stream and wakes subscribers until there are none.
async fn follow_once(jobs: Documents, hub: Arc<Hub>) -> Result<(), Error> {
    hub.stream_begins();
    let stages = [
        doc! { "$match": { "operationType": { "$in": ["insert", "update", "replace"] } } },
        // The id, and the fields that the driver needs to resume after a short interruption.
        doc! { "$project": { "_id": 1, "operationType": 1, "ns": 1, "documentKey": 1 } },
    ];
    let opening = jobs.collection().watch().pipeline(stages).max_await_time(LONGEST_ANSWER);
    let mut stream = opening.await?;
    hub.stream_opened();
    debug!("change stream of jobs opened");
    while stream.is_alive() && hub.is_needed() {
        let change = stream.next_if_any().await?;
        hub.stream_answered();
        let key = change.and_then(|change| change.document_key);
        if let Some(job_id) = key.and_then(|key| key.get_str("_id").ok()?.parse().ok()) {
            hub.wake(job_id);
        }
    }
    debug!("change stream of jobs closed");
    Ok(())
}
