//! One round: look, take the turn, choose, publish, note, give the turn back.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use export_core::fairness::{Load, next_turns};
use export_core::message::WakeUp;
use export_core::{Tenant, causes};
use export_store::{Occupancy, PendingMessage, StoreError, Turn};
use futures_util::future::{join_all, try_join_all};
use tracing::{info, warn};

use super::Dispatcher;

/// Jobs that may be in the broker when none runs: enough for the first worker that comes, and for jobs that end at once.
const LEAST_IN_BROKER: usize = 4;
/// Most jobs of one round. Its messages are all on their way together, and it must be over long before its turn is.
const MOST_AT_ONCE: usize = 64;
/// Tries to get the turn while another dispatcher has it, and the longest wait between them. A round of another is over in a moment, mostly.
const TURN_TRIES: u32 = 5;
const TURN_WAIT: Duration = Duration::from_millis(60);
/// Most looks for jobs in one round. Only tenants all of whose jobs wait for the end of a back-off cost more than one.
const LOOKS: usize = 50;

/// The result of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing to release.
    NobodyWaits,
    /// Jobs wait for room in the broker, which has as many as are running.
    Full,
    /// Jobs wait for room: their tenants have enough, or the first jobs of all are still to be claimed.
    NoRoom,
    /// There is room, but all that wait are to be tried later.
    NotDue,
    /// Another dispatcher has the turn.
    NotOurTurn,
    /// Jobs were released.
    Released,
    /// Jobs could not be released; the reason is in the log.
    NotReleased,
}

/// Who waits, and what is in the broker or running.
#[derive(Debug)]
struct Look {
    loads: Vec<Load>,
    occupancy: Occupancy,
}

impl Look {
    /// How many more the broker may get: it has as many as are running, so that whoever ends one finds another.
    fn room(&self) -> usize {
        let most = self.occupancy.running.max(LEAST_IN_BROKER);
        most.saturating_sub(self.occupancy.in_broker).min(MOST_AT_ONCE)
    }

    /// What it means that nothing can be released.
    fn no_room(&self) -> Outcome {
        let is_stocked = self.room() == 0 && self.occupancy.running >= LEAST_IN_BROKER;
        if is_stocked { Outcome::Full } else { Outcome::NoRoom }
    }
}

impl Dispatcher {
    /// Releases what there is room for. Where there is nothing to release, this reads two small indexes and writes nothing.
    ///
    /// [`run`](Self::run) calls this whenever there may be something to release; tests call it by hand.
    pub async fn round(&self) -> Result<Outcome, StoreError> {
        let look = self.look().await?;
        if look.loads.is_empty() {
            return Ok(Outcome::NobodyWaits);
        }
        if next_turns(look.loads.clone(), None, look.room().min(1), self.max_running_per_tenant).is_empty() {
            return Ok(look.no_room());
        }
        let Some(turn) = self.turn().await? else { return Ok(Outcome::NotOurTurn) };
        let mut last_tenant = None;
        let outcome = self.release(&turn, &mut last_tenant).await;
        // Where this fails, the turn ends by itself.
        if let Err(error) = self.jobs.end_turn(&self.owner, last_tenant.as_ref()).await {
            warn!(error = %causes(&error), "the turn to dispatch could not be given back; the next one is later");
        }
        outcome
    }

    async fn look(&self) -> Result<Look, StoreError> {
        let (tenants, occupancy) = tokio::try_join!(self.jobs.waiting_tenants(), self.jobs.occupancy())?;
        let load = |tenant: Tenant| {
            let active = occupancy.by_tenant.get(&tenant).copied().unwrap_or_default();
            Load { tenant, active, waiting: MOST_AT_ONCE }
        };
        Ok(Look { loads: tenants.into_iter().map(load).collect(), occupancy })
    }

    /// Waits for the turn, though not for long: whoever has it releases our jobs as well.
    async fn turn(&self) -> Result<Option<Turn>, StoreError> {
        for tries in 1..=TURN_TRIES {
            let turn = self.jobs.take_turn(&self.owner).await?;
            if turn.is_some() || tries == TURN_TRIES {
                return Ok(turn);
            }
            tokio::time::sleep(TURN_WAIT.mul_f64(fastrand::f64())).await;
        }
        Ok(None)
    }

    /// Releases jobs, now that it is our turn.
    async fn release(&self, turn: &Turn, last_tenant: &mut Option<Tenant>) -> Result<Outcome, StoreError> {
        // Once more: until now it may have been the turn of another, who has released some.
        let look = self.look().await?;
        let room = look.room();
        if room == 0 {
            return Ok(look.no_room());
        }
        let (chosen, last) = self.choose(look, turn.last_tenant.as_ref(), room).await?;
        *last_tenant = last;
        if chosen.is_empty() {
            return Ok(Outcome::NotDue);
        }
        let published = self.publish(&chosen).await;
        if published.is_empty() {
            return Ok(Outcome::NotReleased);
        }
        let marks: Vec<_> = published.iter().map(|job| (job.job_id, job.epoch)).collect();
        self.jobs.mark_all_published(&marks).await?;
        let is_all = published.len() == chosen.len();
        Ok(if is_all { Outcome::Released } else { Outcome::NotReleased })
    }

    /// The jobs that there is room for, in order, and the tenant after which it goes on.
    async fn choose(
        &self,
        Look { mut loads, occupancy }: Look,
        served_last: Option<&Tenant>,
        room: usize,
    ) -> Result<(Vec<(Tenant, PendingMessage)>, Option<Tenant>), StoreError> {
        let (no_keys, active) = (BTreeSet::new(), &occupancy.keys);
        let mut found: HashMap<Tenant, Vec<PendingMessage>> = HashMap::new();
        for look in 1.. {
            let turns = next_turns(loads.clone(), served_last, room, self.max_running_per_tenant);
            let mut wanted: HashMap<&Tenant, usize> = HashMap::new();
            for tenant in &turns {
                *wanted.entry(tenant).or_default() += 1;
            }
            // Where fewer were found than wanted, these are looked for; nobody wants more than there are of what has been looked for.
            let missing = wanted
                .into_iter()
                .filter(|(tenant, count)| found.get(*tenant).is_none_or(|jobs| jobs.len() < *count));
            let looks =
                missing.map(|(tenant, count)| (tenant, count, active.get(tenant).unwrap_or(&no_keys)));
            let looks = looks.map(|(tenant, count, active)| async move {
                let jobs = self.jobs.next_waiting(tenant, count, active).await?;
                Ok::<_, StoreError>((tenant.clone(), count, jobs))
            });
            let looked = try_join_all(looks).await?;
            if looked.is_empty() || look == LOOKS {
                let last = turns.last().cloned();
                return Ok((in_order(turns, found), last));
            }
            for (tenant, count, jobs) in looked {
                let load = loads.iter_mut().find(|load| load.tenant == tenant);
                if let Some(load) = load.filter(|_| jobs.len() < count) {
                    load.waiting = jobs.len();
                }
                found.insert(tenant, jobs);
            }
        }
        Ok((Vec::new(), None))
    }

    /// Sends the jobs' messages; those that the broker has confirmed.
    async fn publish<'jobs>(&self, chosen: &'jobs [(Tenant, PendingMessage)]) -> Vec<&'jobs PendingMessage> {
        let sent = chosen.iter().map(|(tenant, job)| async move {
            let job_id = job.job_id;
            let outcome = self.publisher.publish(WakeUp { job_id }, job.trace_parent.as_ref()).await;
            if outcome.is_ok() {
                info!(job.id = %job_id, job.tenant = %tenant, "the job was released to the workers");
            }
            outcome.map(|()| job)
        });
        let (sent, failed): (Vec<_>, Vec<_>) = join_all(sent).await.into_iter().partition(Result::is_ok);
        if let Some(Err(error)) = failed.first() {
            let job_count = failed.len();
            warn!(job_count, error = %causes(error), "jobs wait for RabbitMQ");
        }
        sent.into_iter().filter_map(Result::ok).collect()
    }
}

/// The jobs that were found, as the turns have it.
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
