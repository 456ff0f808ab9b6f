//! Keeps the catalog: which vehicles there are, and what each of them has.
//!
//! Of all workers one does, by a lease in the catalog; when it is gone another takes over. It lists the vehicles every few
//! seconds, which is one cheap command, and looks at them one after the other, new ones first, then the longest not looked at,
//! with so few questions a second that the source does not notice. Whatever fails here is tried again later and disturbs no export.

use std::time::Duration;

use export_core::{VehicleId, causes};
use export_source::{Catalog, CatalogLease, ListChange, StoreError, VehicleDatabases};
use futures_util::{StreamExt, stream};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Questions to the source in a second: each takes it a fraction of a millisecond, so that all of them keep one of its cores busy for
/// a few hundredths of its time.
const QUESTIONS_PER_SECOND: u32 = 50;
/// Vehicles that are looked at side by side, so that a slow answer does not hold up the others.
const VEHICLES_AT_A_TIME: usize = 4;
/// Vehicles that are chosen at a time to be looked at next.
const BATCH: i64 = 64;
/// A vehicle is looked at again when so many looks at the list have passed; a vehicle's hours change once in an hour.
const LOOKS_PER_VEHICLE: u32 = 3;
/// The list of vehicles is trusted for the time of so many looks, and for no less than [`LEAST_TRUST`]: when looks fail, the API
/// stops to refuse what it does not know before anybody has waited for a minute.
const LOOKS_OF_TRUST: u32 = 3;
/// Room for a look that takes long.
const LEAST_TRUST: Duration = Duration::from_secs(30);
/// How long giving the lease back may hold up the end of the worker.
const RESIGNING: Duration = Duration::from_millis(500);
/// Vehicles that one line of the log names.
const NAMED: usize = 5;

/// Keeps the catalog.
#[derive(Clone, Debug)]
pub struct CatalogKeeper {
    /// Where it is written.
    pub catalog: Catalog,
    /// What it is about.
    pub vehicles: VehicleDatabases,
    /// This process's name in the lease.
    pub owner: String,
    /// Time between two looks at the list of vehicles.
    pub refresh: Duration,
}

impl CatalogKeeper {
    /// Keeps the catalog until `stop`, and ends at once then.
    pub async fn run(self, stop: CancellationToken) {
        let (sender, receiver) = watch::channel(None);
        let keeping = async {
            tokio::join!(self.keep_list(&sender), self.look_at_vehicles(receiver));
        };
        tokio::select! {
            () = keeping => {}
            () = stop.cancelled() => {}
        }
        if sender.borrow().is_some() {
            // Otherwise the lease ends by itself.
            tokio::time::timeout(RESIGNING, self.catalog.release(&self.owner)).await.ok();
        }
    }

    /// Keeps the list of vehicles, and tells whether it is ours to keep.
    async fn keep_list(&self, keeping: &watch::Sender<Option<CatalogLease>>) {
        let mut looks = tokio::time::interval(self.refresh);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut failures, mut left_out) = (Failures::default(), 0);
        loop {
            looks.tick().await;
            let look = match self.look_at_list().await {
                Ok(look) => {
                    failures.ended("the catalog is kept again");
                    look
                }
                Err(error) => {
                    if failures.is_first() {
                        warn!(error = %causes(&error), "the catalog cannot be kept, to be tried again and again");
                    }
                    None
                }
            };
            if look.is_some() != keeping.borrow().is_some() {
                info!(catalog.is_ours = look.is_some(), "the catalog has another keeper");
            }
            let look = look.map(|Look { keeping, change, left_out: now_left_out }| {
                tell(&change);
                if std::mem::replace(&mut left_out, now_left_out) != now_left_out {
                    warn!(
                        left_out_count = now_left_out,
                        "databases whose names no file can have are no vehicles"
                    );
                }
                keeping
            });
            keeping.send_replace(look);
        }
    }

    async fn look_at_list(&self) -> Result<Option<Look>, StoreError> {
        // Half a look late is not gone.
        let Some(keeping) = self.catalog.take_lease(&self.owner, self.refresh * 3 / 2).await? else {
            return Ok(None);
        };
        let survey = self.vehicles.survey().await?;
        let trusted = (self.refresh * LOOKS_OF_TRUST).max(LEAST_TRUST);
        let change = self.catalog.set_list(&keeping, &survey.vehicles, trusted).await?;
        Ok(Some(Look { keeping, change, left_out: survey.left_out }))
    }

    /// Looks at one vehicle after the other, while the catalog is ours.
    async fn look_at_vehicles(&self, mut keeping: watch::Receiver<Option<CatalogLease>>) {
        let pace = Pace::default();
        let failures = Mutex::new(Failures::default());
        loop {
            let current = keeping.borrow_and_update().clone();
            let due = match &current {
                None => Vec::new(),
                Some(current) => self.due(current).await,
            };
            if due.is_empty() {
                if keeping.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let (keeping, pace, failures) = (&keeping, &pace, &failures);
            let looks = stream::iter(due).for_each_concurrent(VEHICLES_AT_A_TIME, |vehicle| async move {
                if keeping.borrow().is_some() {
                    self.look_at(&vehicle, pace, failures).await;
                }
            });
            looks.await;
        }
    }

    async fn due(&self, keeping: &CatalogLease) -> Vec<VehicleId> {
        // What fails here fails in the next look at the list, too, and is told there.
        let due = self.catalog.stalest(keeping, self.refresh * LOOKS_PER_VEHICLE, BATCH).await;
        due.unwrap_or_default()
    }

    async fn look_at(&self, vehicle: &VehicleId, pace: &Pace, failures: &Mutex<Failures>) {
        let looked = self.vehicles.look(vehicle, || pace.turn()).await;
        let noted = self.catalog.note(vehicle, looked.as_ref().ok()).await;
        let mut failures = failures.lock().await;
        match looked.map(drop).and(noted) {
            Ok(()) => failures.ended("a vehicle could be looked at again"),
            Err(error) if failures.is_first() => {
                warn!(%vehicle, error = %causes(&error), "a vehicle could not be looked at, others go on");
            }
            Err(_) => {}
        }
    }
}

struct Look {
    keeping: CatalogLease,
    change: ListChange,
    left_out: usize,
}

/// One line for what came and one for what went, however many there are.
fn tell(change: &ListChange) {
    for (vehicles, what) in [(&change.added, "new vehicles"), (&change.gone, "vehicles are gone")] {
        if !vehicles.is_empty() {
            let first: Vec<&str> = vehicles.iter().take(NAMED).map(VehicleId::as_str).collect();
            info!(vehicle_count = vehicles.len(), first_vehicles = first.join(", "), "{what}");
        }
    }
}

/// Lets questions through, each its time after the one before.
#[derive(Debug, Default)]
struct Pace(Mutex<Option<Instant>>);

impl Pace {
    async fn turn(&self) {
        let between = Duration::from_secs(1) / QUESTIONS_PER_SECOND;
        // Held while waiting: the others come after.
        let mut next = self.0.lock().await;
        if let Some(next) = *next {
            tokio::time::sleep_until(next).await;
        }
        *next = Some(Instant::now() + between);
    }
}

/// How often something has failed in a row: the first time and the end are worth a line in the log, and an hour of it one more.
#[derive(Debug, Default)]
struct Failures {
    since: Option<Instant>,
    count: u64,
}

/// Failures that go on are told again after this time.
const TOLD_AGAIN: Duration = Duration::from_hours(1);

impl Failures {
    /// Counts one; whether it is to be told.
    fn is_first(&mut self) -> bool {
        self.is_first_at(Instant::now())
    }

    fn is_first_at(&mut self, now: Instant) -> bool {
        self.count += 1;
        let is_told = self.since.is_none_or(|since| now.duration_since(since) > TOLD_AGAIN);
        if is_told {
            self.since = Some(now);
        }
        is_told
    }

    fn ended(&mut self, told: &'static str) {
        if self.since.take().is_some() {
            info!(failure_count = self.count, "{told}");
            self.count = 0;
        }
    }
}

/// Says in the log that the keeper has ended by a defect: exports go on without.
pub(crate) fn note_end(ended: Result<(), tokio::task::JoinError>) {
    if let Err(panic) = ended {
        error!(error = %panic, "the catalog is kept no more by this worker");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn questions_keep_their_pace_whoever_asks() {
        let pace = Pace::default();
        let begun_at = Instant::now();
        let questions = QUESTIONS_PER_SECOND / 5;
        stream::iter(0..=questions)
            .for_each_concurrent(VEHICLES_AT_A_TIME, |_| async { pace.turn().await })
            .await;
        let took = begun_at.elapsed();
        assert!(took >= Duration::from_millis(199), "{took:?}");
    }

    #[test]
    fn failures_in_a_row_are_told_once_an_hour() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        assert!(failures.is_first_at(now) && !failures.is_first_at(now + TOLD_AGAIN / 2));
        assert!(failures.is_first_at(now + TOLD_AGAIN * 2) && !failures.is_first_at(now + TOLD_AGAIN * 2));
        failures.ended("well again");
        assert!(failures.is_first_at(now), "a new row of failures");
    }
}
