//! What becomes of jobs that follow when their leader has ended.

use std::time::Duration;

use bson::{Bson, Document, doc};
use export_core::JobId;
use export_core::job::{Job, JobState};
use export_core::rules::Transition;
use export_mongo::StoreError;
use export_mongo::client::bounded;
use export_mongo::server_errors::{DUPLICATE_KEY, has_code};
use futures_util::TryStreamExt;
use mongodb::error::ErrorKind;
use mongodb::options::ReadConcern;

use crate::jobs::document::read_job;
use crate::jobs::rules::{Given, filter, update};
use crate::jobs::{JobStore, is_over};

/// Most leaders in one look; the next look goes on.
const BATCH: i64 = 100;
/// The longest that a look may keep the server busy.
const LOOK: Duration = Duration::from_secs(5);
/// Tries to find a leader for jobs whose old one is gone. Each that fails means that somebody else has changed something; the next sweep
/// goes on.
const TAKE_OVER_TRIES: u32 = 8;

/// What came of jobs whose leader has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// So many have its result.
    Adopted(JobId, u64),
    /// So many have failed as it has.
    Failed(JobId, u64),
    /// It has no result to share: this one of them leads the rest now.
    TookOver(JobId, JobId),
    /// It has no result to share: so many follow this other one now.
    Moved(JobId, JobId, u64),
}

/// What came of a look for jobs whose leader has ended.
#[derive(Debug, Default)]
pub struct Settling {
    /// What was done.
    pub settled: Vec<Settled>,
    /// Leaders whose followers could not be settled now, and why.
    pub failed: Vec<(JobId, StoreError)>,
    /// Behind whom the next look begins: where there are more than a batch of them, those that fail must not stand before all others.
    pub goes_on_behind: Option<String>,
}

impl JobStore {
    /// Settles the jobs that wait for the result of one that has ended or is gone, of at most a batch of leaders, beginning behind this one.
    /// That one leader's cannot be settled holds up no other's.
    pub async fn settle_followers(&self, behind: Option<&str>) -> Result<Settling, StoreError> {
        let mut settling = Settling::default();
        let leaders = self.ended_leaders(behind).await?;
        if i64::try_from(leaders.len()).is_ok_and(|count| count >= BATCH) {
            settling.goes_on_behind = leaders.last().cloned();
        }
        for leader in leaders.iter().filter_map(|leader| leader.parse().ok()) {
            match self.settle(leader).await {
                Ok(settled) => settling.settled.extend(settled),
                Err(error) => settling.failed.push((leader, error)),
            }
        }
        Ok(settling)
    }

    /// Settles the jobs that wait for this one's result, if it has ended.
    pub(super) async fn settle(&self, leader: JobId) -> Result<Vec<Settled>, StoreError> {
        let Some((job, is_over)) = self.leader(leader).await? else { return self.take_over(leader).await };
        match (job.state, &job.result) {
            (JobState::NotStarted | JobState::Started, _) => Ok(Vec::new()),
            (JobState::Finished, Some(_)) if !is_over => self.adopt(&job).await,
            (JobState::Failed, _) => self.adopt_failure(&job).await,
            _ => {
                // One whose time is over leads until it is swept.
                self.change(leader, Transition::GiveWay, &Given::default()).await?;
                self.take_over(leader).await
            }
        }
    }

    /// Leaders that have ended, or are gone, while others wait for them; those behind this one, in the order of their ids.
    async fn ended_leaders(&self, behind: Option<&str>) -> Result<Vec<String>, StoreError> {
        let mut those = waiting();
        if let Some(behind) = behind {
            those.insert("sharesResultOf", doc! { "$type": "string", "$gt": behind });
        }
        let active = [JobState::NotStarted.as_str(), JobState::Started.as_str()];
        let from = self.jobs.name();
        let stages = [
            doc! { "$match": those },
            doc! { "$group": { "_id": "$sharesResultOf" } },
            doc! { "$sort": { "_id": 1 } },
            doc! { "$lookup": {
                "from": from, "localField": "_id", "foreignField": "_id", "as": "active",
                "pipeline": [{ "$match": { "state": { "$in": active.to_vec() } } }, { "$project": { "_id": 1 } }],
            } },
            doc! { "$match": { "active": [] } },
            doc! { "$limit": BATCH },
        ];
        let jobs = self.jobs.clone();
        let found = bounded("find leaders that have ended", async move {
            jobs.aggregate(stages).max_time(LOOK).await?.try_collect::<Vec<Document>>().await
        })
        .await?;
        Ok(found.iter().filter_map(|leader| leader.get_str("_id").ok().map(str::to_owned)).collect())
    }

    /// The leader, and whether its result's time is over. What cannot be read is as good as gone.
    async fn leader(&self, leader: JobId) -> Result<Option<(Job, bool)>, StoreError> {
        let stages =
            [doc! { "$match": { "_id": leader.to_string() } }, doc! { "$set": { "isOver": is_over() } }];
        let jobs = self.jobs.clone();
        let found = bounded("read a leader", async move {
            jobs.aggregate(stages).await?.try_collect::<Vec<Document>>().await
        })
        .await?;
        let Some(document) = found.into_iter().next() else { return Ok(None) };
        let is_over = document.get_bool("isOver").unwrap_or(false);
        Ok(read_job(document).ok().map(|job| (job, is_over)))
    }

    async fn adopt(&self, leader: &Job) -> Result<Vec<Settled>, StoreError> {
        let stored = |time: Option<chrono::DateTime<chrono::Utc>>| {
            time.map(|time| bson::DateTime::from_millis(time.timestamp_millis()))
        };
        let given = Given {
            leader: Some(leader.id),
            result: leader.result.as_ref(),
            progress: Some(&leader.progress),
            shared_until: stored(leader.expires_at),
            shared_since: stored(leader.finished_at),
            ..Given::default()
        };
        let adopted = self.change_followers(leader, Transition::Adopt, &given).await?;
        Ok((adopted > 0).then_some(Settled::Adopted(leader.id, adopted)).into_iter().collect())
    }

    async fn adopt_failure(&self, leader: &Job) -> Result<Vec<Settled>, StoreError> {
        let given = Given { leader: Some(leader.id), failure: leader.failure.as_ref(), ..Given::default() };
        let failed = self.change_followers(leader, Transition::AdoptFailure, &given).await?;
        Ok((failed > 0).then_some(Settled::Failed(leader.id, failed)).into_iter().collect())
    }

    /// Changes all that wait for this leader's result, each by a compare-and-set of its own.
    async fn change_followers(
        &self,
        leader: &Job,
        transition: Transition,
        given: &Given<'_>,
    ) -> Result<u64, StoreError> {
        let mut those = doc! { "tenant": leader.tenant.as_str() };
        those.extend(filter(transition.rule(), given));
        self.change_many(those, update(transition.rule(), given)).await
    }

    async fn change_many(&self, those: Document, update: Vec<Document>) -> Result<u64, StoreError> {
        let jobs = self.jobs.clone();
        let changed =
            bounded("change jobs that follow", async move { jobs.update_many(those, update).await });
        Ok(changed.await?.modified_count)
    }

    /// Finds another leader for those that wait for one without a result: one of themselves, the oldest, or who leads by now.
    async fn take_over(&self, gone: JobId) -> Result<Vec<Settled>, StoreError> {
        let mut settled = Vec::new();
        for _ in 0..TAKE_OVER_TRIES {
            let Some(oldest) = self.oldest_follower(gone).await? else { break };
            let next = if self.stand_alone(oldest.id, gone).await? {
                settled.push(Settled::TookOver(gone, oldest.id));
                Some(oldest.id)
            } else {
                self.present_leader(&oldest).await?
            };
            if let Some(next) = next {
                let given = Given { leader: Some(gone), next_leader: Some(next), ..Given::default() };
                let rule = Transition::FollowNext.rule();
                let mut those = doc! { "tenant": &oldest.tenant, "shareKey": &oldest.share_key };
                those.extend(filter(rule, &given));
                let moved = self.change_many(those, update(rule, &given)).await?;
                settled.extend((moved > 0).then_some(Settled::Moved(gone, next, moved)));
            }
        }
        Ok(settled)
    }

    async fn oldest_follower(&self, leader: JobId) -> Result<Option<Follower>, StoreError> {
        let mut those = waiting();
        those.insert("sharesResultOf", leader.to_string());
        let told = doc! { "tenant": 1, "shareKey": 1 };
        let jobs = self.jobs.clone();
        let found = bounded("find a job that follows", async move {
            jobs.find_one(those).sort(doc! { "_id": 1 }).projection(told).await
        })
        .await?;
        Ok(found.as_ref().and_then(|document| {
            let text = |field: &str| document.get_str(field).ok().map(str::to_owned);
            Some(Follower {
                id: text("_id")?.parse().ok()?,
                tenant: text("tenant")?,
                share_key: document.get("shareKey").cloned().unwrap_or_default(),
            })
        }))
    }

    /// Lets a job work for itself, and lead; whether it does. It does not when another leads, or when it has changed.
    async fn stand_alone(&self, job_id: JobId, gone: JobId) -> Result<bool, StoreError> {
        let given = Given { leader: Some(gone), ..Given::default() };
        match self.change(job_id, Transition::StandAlone, &given).await {
            Ok(changed) => Ok(changed.is_some()),
            Err(StoreError::Driver { source, .. }) if is_duplicate(source.as_ref()) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Who leads where this one would. Read as the primary has it, like the index that let nobody else lead.
    async fn present_leader(&self, follower: &Follower) -> Result<Option<JobId>, StoreError> {
        let leads = doc! { "tenant": &follower.tenant, "shareKey": &follower.share_key, "leads": true };
        let jobs = self.jobs.clone();
        let found = bounded("find who leads", async move {
            jobs.find_one(leads).projection(doc! { "_id": 1 }).read_concern(ReadConcern::local()).await
        })
        .await?;
        Ok(found.and_then(|document| document.get_str("_id").ok()?.parse().ok()))
    }
}

/// A job that waits for another's result.
#[derive(Debug)]
struct Follower {
    id: JobId,
    tenant: String,
    share_key: Bson,
}

/// All jobs that wait for another's result, as the index of them has it.
fn waiting() -> Document {
    doc! { "state": JobState::NotStarted.as_str(), "sharesResultOf": { "$type": "string" } }
}

fn is_duplicate(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<mongodb::error::Error>().is_some_and(|error| {
        let is_write_error = matches!(&*error.kind, ErrorKind::Write(failure) if is_duplicate_write(failure));
        is_write_error || has_code(error, DUPLICATE_KEY)
    })
}

fn is_duplicate_write(failure: &mongodb::error::WriteFailure) -> bool {
    matches!(failure, mongodb::error::WriteFailure::WriteError(error) if error.code == DUPLICATE_KEY)
}
