//! How many exports can run at a time: the workers' lanes, and the limit over all workers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use export_amqp::Publisher;
use export_core::causes;
use export_core::fairness::Places;
use tokio::time::Instant;
use tracing::debug;

/// How long a number of lanes is used. A worker that starts or stops is noticed within this time.
const LANES_AGE: Duration = Duration::from_secs(1);

/// The places of the workers, as the broker knows them.
#[derive(Debug)]
pub(super) struct KnownPlaces {
    /// The limit of running exports over all workers.
    max_running: usize,
    /// The broker's last answer.
    lanes: Mutex<Option<Lanes>>,
}

/// The broker's answer about the lanes.
#[derive(Clone, Copy, Debug)]
struct Lanes {
    asked_at: Instant,
    /// `None` if it has not answered.
    count: Option<usize>,
}

impl KnownPlaces {
    pub(super) fn new(max_running: usize) -> Self {
        Self { max_running, lanes: Mutex::default() }
    }

    /// The places now; `None` while no worker runs, or the broker does not answer. Then nothing can
    /// be kept free.
    pub(super) async fn now(&self, publisher: &Publisher) -> Option<Places> {
        let lanes = match self.known_lanes() {
            Some(known) => known.count,
            None => self.ask(publisher).await,
        };
        lanes.filter(|lanes| *lanes > 0).map(|lanes| Places { count: lanes.min(self.max_running) })
    }

    fn known_lanes(&self) -> Option<Lanes> {
        let known = *self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|known| known.asked_at.elapsed() < LANES_AGE)
    }

    async fn ask(&self, publisher: &Publisher) -> Option<usize> {
        let asked = publisher.count_consumers().await;
        let asked =
            asked.inspect_err(|error| debug!(error = %causes(error), "cannot count the workers' lanes"));
        let count = asked.ok().and_then(|lanes| usize::try_from(lanes).ok());
        let answer = Lanes { asked_at: Instant::now(), count };
        *self.lanes.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        count
    }
}
