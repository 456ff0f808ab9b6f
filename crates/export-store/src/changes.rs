//! Who waits for a job to change is woken when it may have.
//!
//! One change stream per process follows `jobs`, only while somebody waits, and only for the ids of what changes: a wake-up says
//! "look again", never what there is to see. So nothing depends on the stream. Whoever waits looks once after subscribing,
//! everybody is woken when a stream begins (what changed before is not in it), every second while there is none, and
//! now and then although there is one. A stream that breaks is opened anew, without a thought about where it was.

mod hub;

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use export_core::{JobId, causes};
use mongodb::Collection;
use mongodb::error::Error;
use serde::Deserialize;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::jobs::JobStore;
use hub::Hub;
pub use hub::{AnyChange, Subscription};

/// How long the server holds back an answer for want of changes; so long a stream outlives its purpose at most.
const LONGEST_ANSWER: Duration = Duration::from_secs(1);
/// A stream that has said nothing for so long, not even that there is nothing, is broken.
const SILENCE: Duration = Duration::from_secs(4);
/// A silent stream is given up after so long: the driver has no time limit of its own.
const GIVE_UP: Duration = Duration::from_secs(15);
/// Waits between openings: the first, doubled with each failure up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Whoever waits is woken in shares, one share per tick, so that not all of them read at once.
const TICK: Duration = Duration::from_millis(250);
/// Ticks until all were woken: a second while there is no stream, ten although there is one.
const SHARES_WITHOUT_STREAM: u64 = 4;
const SHARES_BESIDE_STREAM: u64 = 40;

/// The changes of all jobs, for those who wait for one of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Changes {
    hub: Arc<Hub>,
    jobs: Collection<Document>,
}

/// A change, as far as it is of interest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    document_key: Option<DocumentKey>,
}

#[derive(Deserialize)]
struct DocumentKey {
    #[serde(rename = "_id")]
    id: String,
}

impl Changes {
    /// The changes of this store's jobs. Follows nothing until [`Changes::run`] does.
    pub fn of(store: &JobStore) -> Self {
        Self { hub: Arc::default(), jobs: store.jobs.clone() }
    }

    /// Waits for changes of this job from now on; look at the job after this, not before. `None` when too many wait already, or
    /// the process is about to end.
    pub fn subscribe(&self, job_id: JobId) -> Option<Subscription> {
        Hub::subscribe(&self.hub, job_id)
    }

    /// Waits for changes of any job from now on, until it is dropped. While somebody does, the stream is open; and while there is none, nothing
    /// is told: whoever waits so looks by the clock, too.
    pub fn subscribe_to_any(&self) -> AnyChange {
        Hub::subscribe_to_any(&self.hub)
    }

    /// Wakes subscribers until `stop`; then it wakes all of them for the last time.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.follow() => {}
            () = self.wake_by_the_clock() => {}
        }
        self.hub.close();
    }

    /// Keeps a stream open while somebody waits.
    async fn follow(&self) {
        let mut wait = FIRST_WAIT;
        loop {
            self.hub.until_somebody_waits().await;
            let stream = tokio::spawn(follow_once(self.jobs.clone(), Arc::clone(&self.hub)));
            let end = self.end_of(stream).await;
            let was_open = self.hub.stream_ended();
            let Err(error) = end else { continue };
            if was_open {
                warn!(error, "the stream of job changes broke; jobs are polled meanwhile");
                wait = FIRST_WAIT;
            } else {
                debug!(error, "no stream of job changes can be opened; jobs are polled meanwhile");
            }
            tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// How a stream ended: because nobody waits any more, or because it broke.
    async fn end_of(&self, mut stream: JoinHandle<Result<(), Error>>) -> Result<(), String> {
        loop {
            match tokio::time::timeout(SILENCE, &mut stream).await {
                Ok(Ok(Ok(()))) => return Ok(()),
                Ok(Ok(Err(error))) => return Err(causes(&error)),
                Ok(Err(panic)) => return Err(causes(&panic)),
                Err(_) if self.hub.is_stuck_for(GIVE_UP) => {
                    stream.abort();
                    return Err("it has been silent for too long".to_owned());
                }
                Err(_) => {}
            }
        }
    }

    async fn wake_by_the_clock(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for tick in 0_u64.. {
            ticks.tick().await;
            let is_told = self.hub.was_heard_within(SILENCE);
            let shares = if is_told { SHARES_BESIDE_STREAM } else { SHARES_WITHOUT_STREAM };
            self.hub.wake_share(tick % shares, shares);
        }
    }
}

/// Opens a stream and wakes subscribers until nobody waits any more.
async fn follow_once(jobs: Collection<Document>, hub: Arc<Hub>) -> Result<(), Error> {
    hub.stream_begins();
    let stages = [
        doc! { "$match": { "operationType": { "$in": ["insert", "update", "replace"] } } },
        // What the driver needs to go on after a short break, and the id.
        doc! { "$project": { "_id": 1, "operationType": 1, "ns": 1, "documentKey": 1 } },
    ];
    let opening = jobs.watch().pipeline(stages).max_await_time(LONGEST_ANSWER);
    let mut stream = opening.await?.with_type::<Change>();
    hub.stream_opened();
    debug!("following the changes of jobs");
    while stream.is_alive() && hub.is_of_use() {
        let change = stream.next_if_any().await?;
        hub.stream_answered();
        let changed = change.and_then(|change| change.document_key).and_then(|key| key.id.parse().ok());
        if let Some(job_id) = changed {
            hub.wake(job_id);
        }
    }
    debug!("no longer following the changes of jobs");
    Ok(())
}
