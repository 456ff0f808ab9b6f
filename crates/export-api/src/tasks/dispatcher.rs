//! The dispatcher: publishes queued jobs to the broker, a few at a time.
//!
//! Terms. A job is *queued* while it is `NOT_STARTED`. A queued job is *unpublished* until its
//! message is published, and *in the broker* after that. An unpublished job is *due* when its
//! `runAfter` has passed; only due jobs are published. A job is *dispatched* while it is in the
//! broker or running. A *turn* is the lease that lets one dispatcher publish.
//!
//! Why few. Accepted jobs stay in MongoDB, where they can be counted and ordered fairly between
//! tenants ([`export_core::fairness`]); a broker queue only knows the order of arrival. So the
//! broker gets just enough jobs that no worker waits, and a tenant that submits later can still be
//! next.
//!
//! Copies. The dispatcher runs in the API because workers have no permission to publish. Any number
//! of copies may run: a lease in MongoDB gives them turns. A copy that dies or loses its turn
//! causes at most duplicate messages, and publishing twice is safe.
//!
//! Wake-ups. A job accepted by this process, a change of any job while jobs wait for room in the
//! broker, and a timer for everything else: jobs whose back-off has ended, and jobs accepted by a
//! copy that died.

mod pacing;
mod places;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use export_amqp::Publisher;
use export_core::fairness::{Load, Places, Room, next_tenants};
use export_core::job::Priority;
use export_core::message::WakeUp;
use export_core::{Tenant, causes};
use export_store::{Changes, JobStore, Occupancy, PendingMessage, StoreError, Turn, Wanted};
use futures_util::future::{join_all, try_join_all};
use tokio::sync::Notify;
use tracing::{info, warn};
use uuid::Uuid;

use places::KnownPlaces;

/// Number of published jobs while none runs: enough for the first worker, and for jobs that end at
/// once.
const MIN_IN_BROKER: usize = 4;
/// Maximum number of jobs of one round, which are published concurrently. The round must end long
/// before its turn expires.
const MAX_PER_ROUND: usize = 64;
/// Attempts to take the turn while another dispatcher has it. Most rounds end within milliseconds.
const TURN_ATTEMPTS: u32 = 5;
/// Maximum wait between two attempts to take the turn.
const MAX_TURN_WAIT: Duration = Duration::from_millis(60);
/// Maximum number of searches for jobs in one round. More than one is needed only for tenants with
/// fewer due jobs than their part of the room.
const MAX_SEARCHES: usize = 50;

/// Publishes queued jobs to the broker.
#[derive(Debug)]
pub struct Dispatcher {
    /// The job store.
    jobs: JobStore,
    /// Reports claims and ends of jobs.
    changes: Changes,
    /// Publishes jobs to the workers.
    publisher: Publisher,
    /// Maximum number of dispatched jobs of one tenant.
    max_running_per_tenant: usize,
    /// The places of the workers.
    places: KnownPlaces,
    /// Identifies this dispatcher as the owner of a turn.
    owner: String,
    waker: DispatcherWaker,
}

/// Wakes the dispatcher task of this process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DispatcherWaker(Arc<Notify>);

impl DispatcherWaker {
    /// Makes the dispatcher start a round, because there is a new job. Does not block.
    pub fn wake_up(&self) {
        self.0.notify_one();
    }
}

/// The outcome of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There are no unpublished jobs.
    NoneUnpublished,
    /// The broker has as many jobs as are running, so no worker waits.
    BrokerStocked,
    /// A limit is reached: every tenant with unpublished jobs has its maximum of dispatched jobs,
    /// or the first published jobs are not claimed yet, or the other places are kept.
    LimitReached,
    /// There is room, but no unpublished job may be published yet: all are in back-off, or wait for
    /// the result of a dispatched job.
    NotDue,
    /// Another dispatcher has the turn.
    NotOurTurn,
    /// Jobs were published.
    Published,
    /// Some jobs could not be published; the error is logged.
    PublishFailed,
}

/// The tenants with unpublished jobs, and the dispatched jobs.
#[derive(Debug)]
struct Snapshot {
    loads: Vec<Load>,
    occupancy: Occupancy,
    /// The places of the workers; `None` while they are not known.
    places: Option<Places>,
}

impl Snapshot {
    /// How many more jobs may be published. The broker holds as many jobs as are running, so that a
    /// worker that ends a job finds the next one. Where places are kept for new tenants, it holds
    /// no more jobs than there are places, because a job in the broker takes the next one.
    fn room(&self) -> Room {
        let Occupancy { in_broker, running, .. } = self.occupancy;
        let most = running.max(MIN_IN_BROKER);
        let jobs = most.saturating_sub(in_broker).min(MAX_PER_ROUND);
        match self.places.filter(|places| places.kept_for_new_tenants() > 0) {
            None => Room { jobs, kept_for_new_tenants: 0 },
            Some(places) => Room {
                jobs: jobs.min(places.count.saturating_sub(in_broker + running)),
                kept_for_new_tenants: places.kept_for_new_tenants(),
            },
        }
    }

    /// Whether one more bulk job may be published for a tenant with this many dispatched jobs,
    /// where `bulk` more of all tenants were chosen.
    fn has_room_for_bulk(&self, of_tenant: usize, bulk: usize) -> bool {
        self.places.is_none_or(|places| places.has_room_for_bulk(self.occupancy.bulk + bulk, of_tenant))
    }

    /// The tenant's dispatched jobs.
    fn dispatched(&self, tenant: &Tenant) -> usize {
        self.occupancy.by_tenant.get(tenant).copied().unwrap_or_default()
    }

    /// Whether a job that must run alone may be published: one at a time. It may wait long for a
    /// worker that runs nothing else, and would take the place of other jobs in the broker.
    fn has_room_for_alone(&self) -> bool {
        self.occupancy.alone_in_broker == 0
    }

    /// The jobs without the bulk jobs for which there is no place, and without more than one job
    /// that must run alone. The next round, which follows at once, finds other jobs instead.
    fn with_places(&self, jobs: Vec<(Tenant, PendingMessage)>) -> Vec<(Tenant, PendingMessage)> {
        let (mut bulk, mut chosen) = (0, HashMap::<Tenant, usize>::new());
        let mut has_room_for_alone = self.has_room_for_alone();
        let has_place = |(tenant, job): &(Tenant, PendingMessage)| {
            let of_tenant = chosen.entry(tenant.clone()).or_default();
            let is_bulk = job.priority == Some(Priority::Bulk);
            if is_bulk && !self.has_room_for_bulk(self.dispatched(tenant) + *of_tenant, bulk) {
                return false;
            }
            if job.must_run_alone && !std::mem::take(&mut has_room_for_alone) {
                return false;
            }
            bulk += usize::from(is_bulk);
            *of_tenant += 1;
            true
        };
        jobs.into_iter().filter(has_place).collect()
    }

    /// Whether there is room for a job of any tenant.
    fn may_publish(&self, max_dispatched: usize) -> bool {
        let room = self.room();
        self.loads.iter().any(|load| room.admits(load, max_dispatched))
    }

    /// The outcome of a round that publishes nothing because room or tenants are used up.
    fn outcome_without_room(&self) -> Outcome {
        let is_stocked = self.room().jobs == 0 && self.occupancy.running >= MIN_IN_BROKER;
        if is_stocked { Outcome::BrokerStocked } else { Outcome::LimitReached }
    }
}

impl Dispatcher {
    /// A dispatcher, which starts with [`run`](Self::run). At most `max_running` exports run at a
    /// time.
    pub fn new(
        jobs: JobStore,
        changes: Changes,
        publisher: Publisher,
        max_running_per_tenant: usize,
        max_running: usize,
    ) -> Self {
        let (owner, places) = (Uuid::new_v4().to_string(), KnownPlaces::new(max_running));
        let waker = DispatcherWaker::default();
        Self { jobs, changes, publisher, max_running_per_tenant, places, owner, waker }
    }

    /// The handle that wakes this dispatcher.
    pub fn waker(&self) -> DispatcherWaker {
        self.waker.clone()
    }

    /// Publishes as many jobs as there is room for. If there is none, or no unpublished job, it
    /// reads two small indexes and writes nothing.
    ///
    /// [`run`](Self::run) calls this; tests call it to step the dispatcher by hand.
    pub async fn round(&self) -> Result<Outcome, StoreError> {
        let snapshot = self.snapshot().await?;
        if snapshot.loads.is_empty() {
            return Ok(Outcome::NoneUnpublished);
        }
        if !snapshot.may_publish(self.max_running_per_tenant) {
            return Ok(snapshot.outcome_without_room());
        }
        let Some(turn) = self.take_turn().await? else { return Ok(Outcome::NotOurTurn) };
        let mut last_tenant = None;
        let outcome = self.publish_next(&turn, &mut last_tenant).await;
        // If this fails, the turn expires.
        if let Err(error) = self.jobs.end_turn(&self.owner, last_tenant.as_ref()).await {
            warn!(error = %causes(&error), "cannot give back the dispatcher's turn; it expires");
        }
        outcome
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let (tenants, occupancy) = tokio::try_join!(self.jobs.waiting_tenants(), self.jobs.occupancy())?;
        let load_of = |tenant: Tenant| {
            let dispatched = occupancy.by_tenant.get(&tenant).copied().unwrap_or_default();
            // Not counted, but assumed to be enough. `choose` lowers it to the number of jobs that
            // a search finds.
            Load { tenant, dispatched, publishable: MAX_PER_ROUND }
        };
        let loads: Vec<Load> = tenants.into_iter().map(load_of).collect();
        // Not asked while no job waits.
        let places = if loads.is_empty() { None } else { self.places.now(&self.publisher).await };
        Ok(Snapshot { loads, occupancy, places })
    }

    /// Takes the turn; `None` if another dispatcher keeps it, which then publishes the same jobs.
    async fn take_turn(&self) -> Result<Option<Turn>, StoreError> {
        for attempt in 1..=TURN_ATTEMPTS {
            let turn = self.jobs.take_turn(&self.owner).await?;
            if turn.is_some() || attempt == TURN_ATTEMPTS {
                return Ok(turn);
            }
            tokio::time::sleep(MAX_TURN_WAIT.mul_f64(fastrand::f64())).await;
        }
        Ok(None)
    }

    /// Publishes jobs while this dispatcher has the turn.
    async fn publish_next(
        &self,
        turn: &Turn,
        last_tenant: &mut Option<Tenant>,
    ) -> Result<Outcome, StoreError> {
        // Read again, because another dispatcher may have published jobs before this turn.
        let snapshot = self.snapshot().await?;
        if !snapshot.may_publish(self.max_running_per_tenant) {
            return Ok(snapshot.outcome_without_room());
        }
        let (chosen, last_chosen) = self.choose(&snapshot, turn.last_tenant.as_ref()).await?;
        *last_tenant = last_chosen;
        if chosen.is_empty() {
            // Bulk jobs may be due that have no place.
            let may_be_bulk = snapshot.has_room_for_bulk(0, 0);
            return Ok(if may_be_bulk { Outcome::NotDue } else { Outcome::LimitReached });
        }
        let published = self.publish(&chosen).await;
        if published.is_empty() {
            return Ok(Outcome::PublishFailed);
        }
        let marks: Vec<_> = published.iter().map(|job| (job.job_id, job.epoch)).collect();
        self.jobs.mark_all_published(&marks).await?;
        let is_all = published.len() == chosen.len();
        Ok(if is_all { Outcome::Published } else { Outcome::PublishFailed })
    }

    /// The next jobs in fair order, at most as many as there is room for, and the last tenant, after
    /// which the next round continues.
    ///
    /// Divides the room fairly among the tenants and searches for as many jobs of each. If a tenant
    /// has fewer, its load is lowered, and the room is divided again.
    async fn choose(
        &self,
        snapshot: &Snapshot,
        last_served: Option<&Tenant>,
    ) -> Result<(Vec<(Tenant, PendingMessage)>, Option<Tenant>), StoreError> {
        let (no_keys, mut loads) = (BTreeSet::new(), snapshot.loads.clone());
        let mut found: HashMap<Tenant, Vec<PendingMessage>> = HashMap::new();
        let mut searches = 0;
        loop {
            let tenants =
                next_tenants(loads.clone(), last_served, snapshot.room(), self.max_running_per_tenant);
            // Tenants with fewer found jobs than they may publish.
            let mut missing = count_each(&tenants);
            missing.retain(|tenant, wanted| found.get(tenant).is_none_or(|jobs| jobs.len() < *wanted));
            if missing.is_empty() || searches == MAX_SEARCHES {
                let last = tenants.last().cloned();
                return Ok((snapshot.with_places(jobs_in_order(tenants, found)), last));
            }
            searches += 1;
            let found_now = try_join_all(missing.into_iter().map(|(tenant, wanted)| {
                let dispatched_keys = snapshot.occupancy.keys.get(&tenant).unwrap_or(&no_keys);
                let kinds = Wanted {
                    bulk: snapshot.has_room_for_bulk(snapshot.dispatched(&tenant), 0),
                    alone: snapshot.has_room_for_alone(),
                };
                async move {
                    let jobs = self.jobs.next_waiting(&tenant, wanted, dispatched_keys, kinds).await?;
                    Ok::<_, StoreError>((tenant, wanted, jobs))
                }
            }));
            for (tenant, wanted, jobs) in found_now.await? {
                // More jobs may be due nevertheless, because the search drops jobs with the same
                // share key. The next round, which follows at once, excludes the dispatched keys.
                let load = loads.iter_mut().find(|load| load.tenant == tenant);
                if let Some(load) = load.filter(|_| jobs.len() < wanted) {
                    load.publishable = jobs.len();
                }
                found.insert(tenant, jobs);
            }
        }
    }

    /// Publishes the jobs' messages and returns the jobs that the broker has confirmed.
    async fn publish<'jobs>(&self, chosen: &'jobs [(Tenant, PendingMessage)]) -> Vec<&'jobs PendingMessage> {
        let sent = chosen.iter().map(|(tenant, job)| async move {
            let job_id = job.job_id;
            let outcome = self.publisher.publish(WakeUp { job_id }, job.trace_parent.as_ref()).await;
            if outcome.is_ok() {
                info!(job.id = %job_id, job.tenant = %tenant, "job published to the workers");
            }
            outcome.map(|()| job)
        });
        let (sent, failed): (Vec<_>, Vec<_>) = join_all(sent).await.into_iter().partition(Result::is_ok);
        if let Some(Err(error)) = failed.first() {
            let job_count = failed.len();
            warn!(job_count, error = %causes(error), "cannot publish to RabbitMQ; jobs wait");
        }
        sent.into_iter().filter_map(Result::ok).collect()
    }
}

/// How often each tenant is in the list.
fn count_each(tenants: &[Tenant]) -> HashMap<Tenant, usize> {
    let mut counts = HashMap::new();
    for tenant in tenants {
        *counts.entry(tenant.clone()).or_default() += 1;
    }
    counts
}

/// The next found job of each of these tenants, in the order of `tenants`. A tenant may be in it
/// more than once.
fn jobs_in_order(
    tenants: Vec<Tenant>,
    found: HashMap<Tenant, Vec<PendingMessage>>,
) -> Vec<(Tenant, PendingMessage)> {
    let mut left: HashMap<_, _> =
        found.into_iter().map(|(tenant, jobs)| (tenant, jobs.into_iter())).collect();
    let next_job_of = |tenant: Tenant| {
        let job = left.get_mut(&tenant)?.next()?;
        Some((tenant, job))
    };
    tenants.into_iter().filter_map(next_job_of).collect()
}
