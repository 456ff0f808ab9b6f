//! A lane of their own for questions whose cost grows with the data: few at a time, and fewer of
//! one caller, so that they do not delay other requests.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

/// Questions of all callers that are answered at a time.
const PLACES: usize = 8;
/// Questions of one tenant (or with `AUTH=none` of one address) that are answered at a time.
const PLACES_PER_CALLER: usize = 2;
/// How long a question waits for its place.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// How long a question may go on after its client is gone. It keeps its place meanwhile.
const ABANDONED: Duration = Duration::from_secs(1);
/// Number of callers above which those without questions are forgotten.
const MAX_CALLERS: usize = 1_024;

/// The lane. Waiting questions are answered in the order in which they came.
#[derive(Debug)]
pub(super) struct Lane<K> {
    places: Arc<Semaphore>,
    of_caller: Mutex<HashMap<K, Weak<Semaphore>>>,
}

/// A place of a caller, and one of all; held until it is dropped.
pub(super) type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// Why a question was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The caller's other questions took too long.
    CallerBusy,
    /// The questions of all callers took too long.
    AllBusy,
    /// The question panicked.
    Panicked,
}

impl<K: Clone + Eq + Hash> Lane<K> {
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), of_caller: Mutex::default() }
    }

    /// Answers a question in its turn. The question runs on its own task, which keeps the place
    /// until the end even if the client is gone: otherwise a client that asks and hangs up would
    /// have any number of questions running.
    pub(super) async fn run<T>(
        &self,
        caller: K,
        question: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, NoAnswer>
    where
        T: Send + 'static,
    {
        let place = self.enter(caller).await?;
        Self::answer(place, question).await.ok_or(NoAnswer::Panicked)
    }

    /// Answers a question if there is a place for it now.
    pub(super) async fn try_run<T>(
        &self,
        caller: K,
        question: impl Future<Output = T> + Send + 'static,
    ) -> Option<T>
    where
        T: Send + 'static,
    {
        let of_caller = self.places_of(caller).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Self::answer((of_caller, of_all), question).await
    }

    /// The answer; `None` if the question panicked.
    async fn answer<T>(place: Place, question: impl Future<Output = T> + Send + 'static) -> Option<T>
    where
        T: Send + 'static,
    {
        let (client, client_is_gone) = oneshot::channel::<()>();
        let is_abandoned = async move {
            client_is_gone.await.ok();
            sleep(ABANDONED).await;
        };
        let answering = tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                answer = question => Some(answer),
                () = is_abandoned => None,
            }
        });
        let answer = answering.await;
        drop(client);
        answer.ok().flatten()
    }

    /// Waits for a place.
    pub(super) async fn enter(&self, caller: K) -> Result<Place, NoAnswer> {
        // The caller's place first, so that its waiting questions take none of the others' places.
        let of_caller = timeout(MAX_WAIT, self.places_of(caller).acquire_owned()).await;
        let of_caller = of_caller.ok().and_then(Result::ok).ok_or(NoAnswer::CallerBusy)?;
        let of_all = timeout(MAX_WAIT, Arc::clone(&self.places).acquire_owned()).await;
        let of_all = of_all.ok().and_then(Result::ok).ok_or(NoAnswer::AllBusy)?;
        Ok((of_caller, of_all))
    }

    fn places_of(&self, caller: K) -> Arc<Semaphore> {
        let mut of_caller = self.of_caller.lock().unwrap_or_else(PoisonError::into_inner);
        if of_caller.len() >= MAX_CALLERS {
            of_caller.retain(|_, places| places.strong_count() > 0);
        }
        let known = of_caller.get(&caller).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let places = Arc::new(Semaphore::new(PLACES_PER_CALLER));
            of_caller.insert(caller, Arc::downgrade(&places));
            places
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    /// Clients that hang up at once have as few questions running as patient ones.
    #[tokio::test(start_paused = true)]
    async fn c2_a_caller_that_hangs_up_delays_no_other() {
        let (lane, running) = (Arc::new(Lane::new()), Arc::new(AtomicUsize::new(0)));
        let mut most = 0;
        for _ in 0..64 {
            let (of_client, counted) = (Arc::clone(&lane), Arc::clone(&running));
            let client = tokio::spawn(async move {
                let question = async move {
                    counted.fetch_add(1, Ordering::Relaxed);
                    std::future::pending::<()>().await;
                };
                of_client.run("hasty", question).await
            });
            sleep(Duration::from_millis(20)).await;
            client.abort();
            most = most.max(PLACES - lane_free(&lane));
        }
        assert_eq!(most, PLACES_PER_CALLER);
        // Two more each second.
        assert!(running.load(Ordering::Relaxed) <= 6, "{running:?}");
        assert_eq!(lane.run("patient", async { 7 }).await, Ok(7));
    }

    fn lane_free(lane: &Lane<&'static str>) -> usize {
        lane.places.available_permits()
    }

    #[tokio::test(start_paused = true)]
    async fn c2_the_wait_for_a_place_is_bounded_and_callers_are_forgotten() {
        let lane = Arc::new(Lane::new());
        let ask = |caller: usize| {
            let lane = Arc::clone(&lane);
            async move { lane.run(caller, sleep(Duration::from_mins(1))).await }
        };
        let of_one = join_all((0..=PLACES_PER_CALLER).map(|_| ask(0))).await;
        assert_eq!(of_one.iter().filter(|answer| **answer == Err(NoAnswer::CallerBusy)).count(), 1);
        let of_many = join_all((0..PLACES + 3).map(ask)).await;
        assert_eq!(of_many.iter().filter(|answer| **answer == Err(NoAnswer::AllBusy)).count(), 3);
        for caller in 0..2 * MAX_CALLERS {
            lane.places_of(caller);
        }
        assert!(lane.of_caller.lock().expect("no panic").len() <= MAX_CALLERS + 1);
    }
}
