//! The subscriptions of a process, and the state of its change stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use export_core::JobId;
use tokio::sync::{Notify, watch};

/// Maximum number of subscriptions of a process. Each is a waiting client, and costs a read per
/// second while there is no stream.
const MAX_SUBSCRIPTIONS: usize = 1_000;
/// A stream stays open for this long without subscribers, because opening one costs more than
/// keeping it.
const LINGER: Duration = Duration::from_secs(30);

/// The subscriptions of one process.
#[derive(Debug, Default)]
pub(super) struct Hub {
    state: Mutex<State>,
    arrival: Notify,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    subscriptions: usize,
    by_job: HashMap<JobId, Subscribers>,
    /// Number of subscriptions to all jobs.
    for_any: usize,
    any_changed: watch::Sender<()>,
    /// When a subscriber last left.
    left_at: Option<Instant>,
    stream: Stream,
}

/// The state of the stream.
#[derive(Debug, Default)]
enum Stream {
    #[default]
    None,
    /// Being opened since this time.
    Opening(Instant),
    /// Last answered at this time, with or without a change.
    Heard(Instant),
}

/// The subscribers of one job.
#[derive(Debug)]
struct Subscribers {
    count: usize,
    /// Selects the tick in which periodic polling wakes them.
    share: u64,
    changed: watch::Sender<()>,
}

/// A subscription to changes of one job or of all jobs, until dropped.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    /// `None` for all jobs.
    job_id: Option<JobId>,
    changed: watch::Receiver<()>,
}

impl Subscription {
    /// Waits until the job, or any job, may have changed since the last call, or since subscribing.
    /// `false` when the process ends and there will be no further wake-ups. Cancel-safe.
    pub async fn changed(&mut self) -> bool {
        self.changed.changed().await.is_ok()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.leave(self.job_id);
    }
}

impl Hub {
    pub(super) fn subscribe(hub: &Arc<Self>, job_id: JobId) -> Option<Subscription> {
        let mut state = hub.lock();
        if state.is_closed || state.subscriptions >= MAX_SUBSCRIPTIONS {
            return None;
        }
        state.subscriptions += 1;
        let new = || Subscribers { count: 0, share: fastrand::u64(..), changed: watch::Sender::new(()) };
        let waiting = state.by_job.entry(job_id).or_insert_with(new);
        waiting.count += 1;
        let changed = waiting.changed.subscribe();
        drop(state);
        hub.arrival.notify_one();
        Some(Subscription { hub: Arc::clone(hub), job_id: Some(job_id), changed })
    }

    pub(super) fn subscribe_to_any(hub: &Arc<Self>) -> Subscription {
        let mut state = hub.lock();
        state.for_any += 1;
        let changed = state.any_changed.subscribe();
        drop(state);
        hub.arrival.notify_one();
        Subscription { hub: Arc::clone(hub), job_id: None, changed }
    }

    fn leave(&self, job_id: Option<JobId>) {
        let mut state = self.lock();
        state.left_at = Some(Instant::now());
        let Some(job_id) = job_id else {
            state.for_any = state.for_any.saturating_sub(1);
            return;
        };
        state.subscriptions = state.subscriptions.saturating_sub(1);
        if let Some(waiting) = state.by_job.get_mut(&job_id) {
            waiting.count -= 1;
            if waiting.count == 0 {
                state.by_job.remove(&job_id);
            }
        }
    }

    pub(super) async fn until_subscribed(&self) {
        while !self.lock().has_subscribers() {
            self.arrival.notified().await;
        }
    }

    /// Whether there are subscribers, or were a short time ago.
    pub(super) fn is_needed(&self) -> bool {
        let state = self.lock();
        let lingers = || state.left_at.is_some_and(|left_at| left_at.elapsed() < LINGER);
        !state.is_closed && (state.has_subscribers() || lingers())
    }

    pub(super) fn wake(&self, job_id: JobId) {
        let state = self.lock();
        state.any_changed.send_replace(());
        if let Some(waiting) = state.by_job.get(&job_id) {
            waiting.changed.send_replace(());
        }
    }

    /// Wakes the subscribers of one share out of `shares`.
    pub(super) fn wake_share(&self, share: u64, shares: u64) {
        let state = self.lock();
        for waiting in state.by_job.values().filter(|waiting| waiting.share % shares == share) {
            waiting.changed.send_replace(());
        }
    }

    pub(super) fn stream_begins(&self) {
        self.lock().stream = Stream::Opening(Instant::now());
    }

    /// The stream contains every change from here on. Wakes all subscribers because of the changes
    /// before.
    pub(super) fn stream_opened(&self) {
        self.stream_answered();
        self.wake_share(0, 1);
        self.lock().any_changed.send_replace(());
    }

    pub(super) fn stream_answered(&self) {
        self.lock().stream = Stream::Heard(Instant::now());
    }

    /// Resets the state; whether the stream was open.
    pub(super) fn stream_ended(&self) -> bool {
        matches!(std::mem::take(&mut self.lock().stream), Stream::Heard(_))
    }

    /// Whether a stream is open and has answered within this time.
    pub(super) fn was_heard_within(&self, time: Duration) -> bool {
        matches!(self.lock().stream, Stream::Heard(at) if at.elapsed() < time)
    }

    /// Whether a stream has not answered, or has not opened, for this time.
    pub(super) fn is_stuck_for(&self, time: Duration) -> bool {
        match self.lock().stream {
            Stream::None => false,
            Stream::Opening(since) | Stream::Heard(since) => since.elapsed() >= time,
        }
    }

    /// Ends all subscriptions and refuses new ones.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.by_job.clear();
        state.any_changed = watch::Sender::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_subscribers(&self) -> bool {
        self.for_any > 0 || !self.by_job.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn job(number: u128) -> JobId {
        JobId::new(Uuid::from_u128(number))
    }

    fn subscribed(hub: &Arc<Hub>, number: u128) -> Subscription {
        Hub::subscribe(hub, job(number)).expect("room")
    }

    /// The numbers of subscriptions and of jobs with subscribers.
    fn counts(hub: &Hub) -> (usize, usize) {
        let state = hub.lock();
        (state.subscriptions, state.by_job.len())
    }

    /// Whether the subscription was woken, without waiting.
    fn is_woken(subscription: &mut Subscription) -> bool {
        let is_woken = subscription.changed.has_changed().expect("an open hub");
        subscription.changed.mark_unchanged();
        is_woken
    }

    #[tokio::test]
    async fn only_subscribers_of_the_job_are_woken() {
        let hub = Arc::new(Hub::default());
        let (mut one, mut same, mut other) = (subscribed(&hub, 1), subscribed(&hub, 1), subscribed(&hub, 2));
        hub.wake(job(1));
        hub.wake(job(1));
        assert!(one.changed().await, "woken once for both");
        assert_eq!((is_woken(&mut one), is_woken(&mut same), is_woken(&mut other)), (false, true, false));
        for share in 0..4 {
            hub.wake_share(share, 4);
        }
        assert!(
            is_woken(&mut one) && is_woken(&mut same) && is_woken(&mut other),
            "periodic polling wakes all"
        );
    }

    #[test]
    fn a_dropped_subscription_is_removed() {
        let hub = Arc::new(Hub::default());
        assert!(!hub.is_needed());
        let (one, same) = (subscribed(&hub, 1), subscribed(&hub, 1));
        drop(one);
        assert_eq!(counts(&hub), (1, 1));
        drop(same);
        assert_eq!(counts(&hub), (0, 0));
        assert!(hub.is_needed(), "the stream lingers");
        hub.lock().left_at = Instant::now().checked_sub(LINGER);
        assert!(!hub.is_needed());
    }

    #[tokio::test]
    async fn closing_ends_all_subscriptions() {
        let hub = Arc::new(Hub::default());
        let mut waiting = subscribed(&hub, 1);
        hub.close();
        assert!(!waiting.changed().await);
        assert!(Hub::subscribe(&hub, job(1)).is_none());
        drop(waiting);
        assert_eq!(hub.lock().subscriptions, 0);
    }

    #[test]
    fn subscriptions_are_bounded() {
        let hub = Arc::new(Hub::default());
        let all: Vec<_> = (0..MAX_SUBSCRIPTIONS).map(|number| subscribed(&hub, number as u128 / 2)).collect();
        assert!(Hub::subscribe(&hub, job(0)).is_none());
        drop(all);
        assert!(Hub::subscribe(&hub, job(0)).is_some());
    }

    #[test]
    fn a_stream_is_silent_until_it_is_heard() {
        let (hub, long) = (Hub::default(), Duration::from_mins(1));
        assert!(!hub.was_heard_within(long) && !hub.is_stuck_for(Duration::ZERO), "none");
        hub.stream_begins();
        assert!(!hub.was_heard_within(long) && hub.is_stuck_for(Duration::ZERO) && !hub.is_stuck_for(long));
        assert!(!hub.stream_ended(), "never open");
        hub.stream_begins();
        hub.stream_opened();
        assert!(hub.was_heard_within(long) && !hub.was_heard_within(Duration::ZERO));
        assert!(hub.stream_ended() && !hub.was_heard_within(long));
    }
}
