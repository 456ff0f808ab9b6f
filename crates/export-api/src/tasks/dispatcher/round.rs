//! One round of the dispatcher: read the load, take the turn, choose jobs, publish them, mark them
//! as published, give the turn back.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use export_core::fairness::{Load, next_turns};
use export_core::message::WakeUp;
use export_core::{Tenant, causes};
use export_store::{Occupancy, PendingMessage, StoreError, Turn};
use futures_util::future::{join_all, try_join_all};
use tracing::{info, warn};

use super::Dispatcher;

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
/// Maximum number of searches for jobs in one round. More than one is needed only for tenants whose
/// jobs all wait for the end of a back-off.
const MAX_SEARCHES: usize = 50;

/// The outcome of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No job waits.
    NoneWaiting,
    /// Jobs wait, and the broker has as many jobs as are running.
    Full,
    /// Jobs wait, and a limit is reached: their tenants run the maximum, or the first published
    /// jobs are not claimed yet.
    NoRoom,
    /// Capacity is available, but all waiting jobs are in back-off.
    NotDue,
    /// Another dispatcher has the turn.
    NotOurTurn,
    /// Jobs were published.
    Published,
    /// Some jobs could not be published; the error is logged.
    PublishFailed,
}

/// The waiting tenants, and the published and running jobs.
#[derive(Debug)]
struct Snapshot {
    loads: Vec<Load>,
    occupancy: Occupancy,
}

impl Snapshot {
    /// How many more jobs may be published. The broker holds as many jobs as are running, so that a
    /// worker that ends a job finds the next one.
    fn room(&self) -> usize {
        let most = self.occupancy.running.max(MIN_IN_BROKER);
        most.saturating_sub(self.occupancy.in_broker).min(MAX_PER_ROUND)
    }

    /// The outcome while nothing can be published.
    fn no_room(&self) -> Outcome {
        let is_stocked = self.room() == 0 && self.occupancy.running >= MIN_IN_BROKER;
        if is_stocked { Outcome::Full } else { Outcome::NoRoom }
    }
}

impl Dispatcher {
    /// Publishes as many jobs as capacity allows. If there are none, it reads two small indexes and
    /// writes nothing.
    ///
    /// [`run`](Self::run) calls this; tests call it to step the dispatcher by hand.
    pub async fn round(&self) -> Result<Outcome, StoreError> {
        let snapshot = self.snapshot().await?;
        if snapshot.loads.is_empty() {
            return Ok(Outcome::NoneWaiting);
        }
        if next_turns(snapshot.loads.clone(), None, snapshot.room().min(1), self.max_running_per_tenant)
            .is_empty()
        {
            return Ok(snapshot.no_room());
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
        let load = |tenant: Tenant| {
            let active = occupancy.by_tenant.get(&tenant).copied().unwrap_or_default();
            Load { tenant, active, waiting: MAX_PER_ROUND }
        };
        Ok(Snapshot { loads: tenants.into_iter().map(load).collect(), occupancy })
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
        let room = snapshot.room();
        if room == 0 {
            return Ok(snapshot.no_room());
        }
        let (chosen, last) = self.choose(snapshot, turn.last_tenant.as_ref(), room).await?;
        *last_tenant = last;
        if chosen.is_empty() {
            return Ok(Outcome::NotDue);
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

    /// The next jobs in fair order, at most `room`, and the last tenant, after which the next round
    /// continues.
    async fn choose(
        &self,
        Snapshot { mut loads, occupancy }: Snapshot,
        served_last: Option<&Tenant>,
        room: usize,
    ) -> Result<(Vec<(Tenant, PendingMessage)>, Option<Tenant>), StoreError> {
        let (no_keys, active) = (BTreeSet::new(), &occupancy.keys);
        let mut found: HashMap<Tenant, Vec<PendingMessage>> = HashMap::new();
        for search in 1.. {
            let turns = next_turns(loads.clone(), served_last, room, self.max_running_per_tenant);
            let mut wanted: HashMap<&Tenant, usize> = HashMap::new();
            for tenant in &turns {
                *wanted.entry(tenant).or_default() += 1;
            }
            // Search for the tenants with fewer found than wanted jobs. A tenant that was searched
            // already wants at most the jobs that it has.
            let missing = wanted
                .into_iter()
                .filter(|(tenant, count)| found.get(*tenant).is_none_or(|jobs| jobs.len() < *count));
            let searches =
                missing.map(|(tenant, count)| (tenant, count, active.get(tenant).unwrap_or(&no_keys)));
            let searches = searches.map(|(tenant, count, active)| async move {
                let jobs = self.jobs.next_waiting(tenant, count, active).await?;
                Ok::<_, StoreError>((tenant.clone(), count, jobs))
            });
            let found_now = try_join_all(searches).await?;
            if found_now.is_empty() || search == MAX_SEARCHES {
                let last = turns.last().cloned();
                return Ok((in_order(turns, found), last));
            }
            for (tenant, count, jobs) in found_now {
                let load = loads.iter_mut().find(|load| load.tenant == tenant);
                if let Some(load) = load.filter(|_| jobs.len() < count) {
                    load.waiting = jobs.len();
                }
                found.insert(tenant, jobs);
            }
        }
        Ok((Vec::new(), None))
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

/// The found jobs, as the turns have it.
fn in_order(
    turns: Vec<Tenant>,
    found: HashMap<Tenant, Vec<PendingMessage>>,
) -> Vec<(Tenant, PendingMessage)> {
    let mut left: HashMap<_, _> =
        found.into_iter().map(|(tenant, jobs)| (tenant, jobs.into_iter())).collect();
    let job_of = |tenant: Tenant| {
        let job = left.get_mut(&tenant)?.next()?;
        Some((tenant, job))
    };
    turns.into_iter().filter_map(job_of).collect()
}
