//! Maintains the catalog: which vehicles exist, and which data each of them has.
//!
//! One worker at a time does this, under a lease in the catalog; when that worker is gone, another
//! one takes over. It lists the vehicles every few seconds, which is one cheap command, and looks
//! at them one after the other: new ones first, then the ones whose last look is the oldest. A rate
//! limit keeps the load on the source negligible. Failures are retried and disturb no export.

use std::time::Duration;

use export_core::{VehicleId, causes};
use export_source::{Catalog, CatalogLease, ListChange, StoreError, VehicleDatabases, VehicleLook};
use futures_util::{StreamExt, stream};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Rate limit of queries to the source. Each query takes a fraction of a millisecond, so all of
/// them use a few per cent of one core of the source.
const QUERIES_PER_SECOND: u32 = 50;
/// Concurrent looks at vehicles, so that a slow answer does not delay the others.
const CONCURRENT_VEHICLES: usize = 4;
/// Vehicles that are selected at a time to be looked at next.
const BATCH: i64 = 64;
/// A vehicle is looked at again after this many looks at the list. A vehicle gets new hours once an
/// hour.
const LIST_LOOKS_PER_VEHICLE: u32 = 3;
/// The list of vehicles is trusted for this many looks, but at least for [`MIN_TRUST`]. So when
/// looks fail, the API stops refusing unknown vehicles within a minute.
const TRUSTED_LIST_LOOKS: u32 = 3;
/// Room for a slow look.
const MIN_TRUST: Duration = Duration::from_secs(30);
/// Upper bound of the delay that releasing the lease adds to the end of the worker.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(500);
/// Vehicles named in one log line.
const LOGGED_VEHICLES: usize = 5;
/// A failure that persists is logged again after this time.
const REPEAT_LOG_AFTER: Duration = Duration::from_hours(1);

/// Maintains the catalog.
#[derive(Clone, Debug)]
pub struct CatalogKeeper {
    catalog: Catalog,
    vehicles: VehicleDatabases,
    owner: String,
    refresh: Duration,
}

impl CatalogKeeper {
    /// A keeper that takes the catalog's lease under the name `owner` and lists the vehicles every
    /// `refresh`.
    pub fn new(catalog: Catalog, vehicles: VehicleDatabases, owner: String, refresh: Duration) -> Self {
        Self { catalog, vehicles, owner, refresh }
    }

    /// Maintains the catalog until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let (sender, receiver) = watch::channel(None);
        let maintaining = async {
            tokio::join!(self.keep_list(&sender), self.look_at_vehicles(receiver));
        };
        tokio::select! {
            () = maintaining => {}
            () = stop.cancelled() => {}
        }
        if sender.borrow().is_some() {
            // If this fails, the lease expires.
            tokio::time::timeout(RELEASE_TIMEOUT, self.catalog.release(&self.owner)).await.ok();
        }
    }

    /// Maintains the list of vehicles; sends the lease while this worker has it.
    async fn keep_list(&self, lease: &watch::Sender<Option<CatalogLease>>) {
        let mut looks = interval(self.refresh);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut failures, mut left_out) = (Failures::default(), 0);
        loop {
            looks.tick().await;
            let look = match self.look_at_list().await {
                Ok(look) => {
                    failures.end("the catalog is maintained again");
                    look
                }
                Err(error) => {
                    if failures.should_log() {
                        warn!(error = %causes(&error), "cannot maintain the catalog, retrying");
                    }
                    None
                }
            };
            match (look.is_some(), lease.borrow().is_some()) {
                (true, false) => info!(catalog.is_ours = true, "this worker maintains the catalog now"),
                (false, true) => info!(catalog.is_ours = false, "another worker maintains the catalog now"),
                _ => {}
            }
            let look = look.map(|Look { lease, change, left_out: now_left_out }| {
                log_change(&change);
                if std::mem::replace(&mut left_out, now_left_out) != now_left_out {
                    warn!(
                        left_out_count = now_left_out,
                        "databases whose names cannot be file names are not vehicles"
                    );
                }
                lease
            });
            lease.send_replace(look);
        }
    }

    async fn look_at_list(&self) -> Result<Option<Look>, StoreError> {
        // The lease survives a look that is late by half an interval.
        let Some(lease) = self.catalog.take_lease(&self.owner, self.refresh * 3 / 2).await? else {
            return Ok(None);
        };
        let survey = self.vehicles.survey().await?;
        let trusted = (self.refresh * TRUSTED_LIST_LOOKS).max(MIN_TRUST);
        let change = self.catalog.set_list(&lease, &survey.vehicles, trusted).await?;
        Ok(Some(Look { lease, change, left_out: survey.left_out }))
    }

    /// Looks at one vehicle after the other while this worker has the lease.
    async fn look_at_vehicles(&self, mut lease: watch::Receiver<Option<CatalogLease>>) {
        let rate = RateLimit::new();
        let failures = Mutex::new(Failures::default());
        loop {
            let current = lease.borrow_and_update().clone();
            let due = match &current {
                None => Vec::new(),
                Some(current) => self.due(current).await,
            };
            if due.is_empty() {
                if lease.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let (lease, rate, failures) = (&lease, &rate, &failures);
            let looks = stream::iter(due).for_each_concurrent(CONCURRENT_VEHICLES, |vehicle| async move {
                if lease.borrow().is_some() {
                    self.look_at(&vehicle, rate, failures).await;
                }
            });
            looks.await;
        }
    }

    async fn due(&self, lease: &CatalogLease) -> Vec<VehicleId> {
        // An error here occurs again in the next look at the list, which logs it.
        let due = self.catalog.stalest(lease, self.refresh * LIST_LOOKS_PER_VEHICLE, BATCH).await;
        due.unwrap_or_default()
    }

    async fn look_at(&self, vehicle: &VehicleId, rate: &RateLimit, failures: &Mutex<Failures>) {
        let looked = self.vehicles.look(vehicle, || rate.turn()).await;
        let measured = match &looked {
            Ok(look) => self.measure(vehicle, look, rate).await,
            Err(_) => Ok(()),
        };
        let noted = self.catalog.note(vehicle, looked.as_ref().ok()).await;
        let mut failures = failures.lock().await;
        match looked.map(drop).and(measured).and(noted) {
            Ok(()) => failures.end("vehicles can be looked at again"),
            Err(error) if failures.should_log() => {
                warn!(%vehicle, error = %causes(&error), "cannot survey a vehicle, continuing with the others");
            }
            Err(_) => {}
        }
    }
}

impl CatalogKeeper {
    /// Measures a vehicle that is new or has grown. After a failure it is measured again when it has
    /// grown further: estimates are wide until then.
    async fn measure(
        &self,
        vehicle: &VehicleId,
        look: &VehicleLook,
        rate: &RateLimit,
    ) -> Result<(), StoreError> {
        if !self.catalog.should_measure(vehicle, look).await? {
            return Ok(());
        }
        let measured = self.vehicles.measure(vehicle, look, || rate.turn()).await;
        let density = measured.as_ref().ok().and_then(Option::as_ref);
        self.catalog.note_density(vehicle, look, density).await?;
        measured.map(drop)
    }
}

struct Look {
    lease: CatalogLease,
    change: ListChange,
    left_out: usize,
}

/// Logs at most one line for new vehicles and one for removed ones.
fn log_change(change: &ListChange) {
    for (vehicles, what) in [(&change.added, "new vehicles"), (&change.gone, "removed vehicles")] {
        if !vehicles.is_empty() {
            let first: Vec<&str> = vehicles.iter().take(LOGGED_VEHICLES).map(VehicleId::as_str).collect();
            info!(vehicle_count = vehicles.len(), first_vehicles = first.join(", "), "{what}");
        }
    }
}

/// Lets queries pass one by one, at most [`QUERIES_PER_SECOND`].
#[derive(Debug)]
struct RateLimit(Mutex<Interval>);

impl RateLimit {
    fn new() -> Self {
        let mut turns = interval(Duration::from_secs(1) / QUERIES_PER_SECOND);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(Mutex::new(turns))
    }

    async fn turn(&self) {
        // Locked while waiting, so that the next query waits for this one.
        self.0.lock().await.tick().await;
    }
}

/// A series of failures. Its first failure and its end are logged, and one failure an hour between.
#[derive(Debug, Default)]
struct Failures {
    logged_at: Option<Instant>,
    count: u64,
}

impl Failures {
    /// Counts a failure; returns whether to log it.
    fn should_log(&mut self) -> bool {
        self.count += 1;
        let should_log = self.logged_at.is_none_or(|logged_at| logged_at.elapsed() > REPEAT_LOG_AFTER);
        if should_log {
            self.logged_at = Some(Instant::now());
        }
        should_log
    }

    /// Notes a success.
    fn end(&mut self, message: &'static str) {
        if self.logged_at.take().is_some() {
            info!(failure_count = self.count, "{message}");
            self.count = 0;
        }
    }
}

/// Logs that a defect has ended the catalog's task. Exports continue without it.
pub(crate) fn log_unexpected_end(ended: Result<(), tokio::task::JoinError>) {
    if let Err(panic) = ended {
        error!(error = %panic, "this worker does not maintain the catalog any more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn concurrent_queries_keep_the_rate_limit() {
        let rate = RateLimit::new();
        let begun_at = Instant::now();
        stream::iter(0..=QUERIES_PER_SECOND)
            .for_each_concurrent(CONCURRENT_VEHICLES, |_| async { rate.turn().await })
            .await;
        let took = begun_at.elapsed();
        assert!((1_000..1_100).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn persistent_failures_are_logged_once_an_hour() {
        let mut failures = Failures::default();
        assert!(failures.should_log() && !failures.should_log());
        tokio::time::advance(REPEAT_LOG_AFTER / 2).await;
        assert!(!failures.should_log());
        tokio::time::advance(REPEAT_LOG_AFTER).await;
        assert!(failures.should_log() && !failures.should_log());
        failures.end("it works again");
        assert!(failures.should_log(), "a new series");
    }
}
