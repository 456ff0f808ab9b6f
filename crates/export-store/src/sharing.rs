//! Jobs that share a result: one leads, the others follow it.
//!
//! Which one leads is decided by a unique index, so that it holds whatever the timing and however many APIs there are. Nothing else has to
//! be atomic: a job that follows says whom, every later change of it is fenced by that, and whatever state its leader has got into
//! meanwhile, [`settling`] sees to it. A tenant's jobs only ever meet their tenant's.

mod settling;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bson::{Bson, Document, doc};
use export_core::JobId;
use export_core::causes;
use export_core::job::{JobState, NewJob};
use export_core::rules::Transition;
use export_mongo::StoreError;
use export_mongo::client::bounded;
use export_mongo::clock::millis;
use futures_util::TryStreamExt;
use mongodb::options::ReadConcern;
use tracing::warn;

use crate::jobs::JobStore;
use crate::jobs::create::Written;
use crate::jobs::document::read_job;
use crate::jobs::rules::Given;

pub use settling::{Settled, Settling};

/// A stored result that is gone sooner is not shared any more: whoever is given it should have time to fetch it. Where results are kept for
/// less than twice as long, it is half of what they are kept for.
const LEAST_LIFETIME: Duration = Duration::from_hours(1);
/// So long a range must be over before its result is shared. A secondary that is read may be behind, by 120 seconds at most
/// (`MAX_STALENESS`), and clocks and uploads take a moment: what lacks the last minutes must not stay for days.
const MARGIN: Duration = Duration::from_mins(5);
/// Looks at who leads. Each round but the last settles at least one of the jobs that want the same, or finds that somebody else was quicker;
/// a job that finds no place in all of them shares with nobody.
const ROUNDS: u32 = 8;

/// What a new job is to the others that ask for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Their result will be its own.
    Lead,
    /// Its result will be that of this job.
    Follow(JobId),
    /// Nothing.
    Alone,
}

/// Who leads: of which tenant, for which key.
type Place = (String, String);

/// A job that leads.
#[derive(Debug)]
struct Leader {
    id: JobId,
    is_finished: bool,
    /// Whether others may still follow it.
    is_worth_sharing: bool,
}

impl Role {
    /// The fields of a new job that say so: only where its range is over, by the server's clock.
    pub(crate) fn fields(self, new: &NewJob) -> Document {
        let Some(key) = new.share_key.as_ref().filter(|_| self != Self::Alone) else {
            return doc! { "shareKey": null, "leads": false, "sharesResultOf": null, "resultAt": null };
        };
        let to = bson::DateTime::from_millis(new.request.range.to_ms());
        let end_of_closed = end_of_closed();
        let where_closed = |value: Bson, otherwise: Bson| {
            doc! { "$cond": [{ "$lte": [to, &end_of_closed] }, { "$literal": value }, { "$literal": otherwise }] }
        };
        let leader = match self {
            Self::Follow(leader) => Bson::from(leader.to_string()),
            Self::Lead | Self::Alone => Bson::Null,
        };
        doc! {
            "shareKey": where_closed(key.as_str().into(), Bson::Null),
            "leads": where_closed((self == Self::Lead).into(), false.into()),
            "sharesResultOf": where_closed(leader, Bson::Null),
            "resultAt": null,
        }
    }
}

impl JobStore {
    /// Accepts jobs that were found to be [`Written::Led`], each by itself, as [`JobStore::create_all`] does. Where the leader has finished, so
    /// have they.
    pub async fn share_all(&self, new: &[NewJob]) -> Result<Vec<Result<Written, StoreError>>, StoreError> {
        let mut outcomes: Vec<Option<Result<Written, StoreError>>> = new.iter().map(|_| None).collect();
        let mut finished = BTreeSet::new();
        for round in 1..=ROUNDS {
            let waiting: Vec<usize> = (0..new.len()).filter(|index| outcomes[*index].is_none()).collect();
            if waiting.is_empty() {
                break;
            }
            let places: BTreeSet<Place> = waiting.iter().filter_map(|index| place(&new[*index])).collect();
            let leaders = self.leaders(places).await?;
            let mut roles = Vec::with_capacity(waiting.len());
            for new in waiting.iter().map(|index| &new[*index]) {
                let leader = place(new).and_then(|place| leaders.get(&place));
                roles.push((new, self.role(new, leader, round == ROUNDS).await?));
                finished.extend(leader.filter(|leader| leader.is_finished).map(|leader| leader.id));
            }
            let written = self.create_as(&roles).await?;
            for (index, written) in waiting.into_iter().zip(written) {
                outcomes[index] = Some(written).filter(|written| !matches!(written, Ok(Written::Led)));
            }
        }
        if !finished.is_empty() {
            self.finish_at_once(finished, &mut outcomes).await;
        }
        let nobody = || Err(StoreError::Contended("the job that leads"));
        Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(nobody)).collect())
    }

    /// What the job is to be, given who leads. A leader in its way stops leading; it keeps what it has.
    async fn role(&self, new: &NewJob, leader: Option<&Leader>, is_last: bool) -> Result<Role, StoreError> {
        let Some(leader) = leader else {
            return Ok(if is_last { Role::Alone } else { Role::Lead });
        };
        if leader.is_worth_sharing && !new.request.force {
            return Ok(Role::Follow(leader.id));
        }
        if is_last {
            return Ok(Role::Alone);
        }
        self.change(leader.id, Transition::GiveWay, &Given::default()).await?;
        Ok(Role::Lead)
    }

    /// Who leads, of these.
    ///
    /// Read as the primary has it, not as a majority has it: the index that has refused a job knows a leader before a majority does. What
    /// is read here may be lost when the primary is; then the job that follows, which was written after it, is lost, too, or finds its
    /// leader gone.
    async fn leaders(&self, places: BTreeSet<Place>) -> Result<HashMap<Place, Leader>, StoreError> {
        if places.is_empty() {
            return Ok(HashMap::new());
        }
        let one_of: Vec<Document> = places
            .into_iter()
            .map(|(tenant, key)| doc! { "tenant": tenant, "shareKey": key, "leads": true })
            .collect();
        let told = doc! {
            "tenant": 1, "shareKey": 1, "isWorthSharing": is_worth_sharing(),
            "isFinished": { "$eq": ["$state", JobState::Finished.as_str()] },
        };
        let stages = [doc! { "$match": { "$or": one_of } }, doc! { "$project": told }];
        let jobs = self.jobs.clone();
        let found = bounded("find who leads", async move {
            let found = jobs.aggregate(stages).read_concern(ReadConcern::local()).await?;
            found.try_collect::<Vec<Document>>().await
        })
        .await?;
        Ok(found.iter().filter_map(leader).collect())
    }

    /// Gives those that follow a finished leader its result now; where that fails, the sweeper does it.
    async fn finish_at_once(
        &self,
        leaders: BTreeSet<JobId>,
        outcomes: &mut [Option<Result<Written, StoreError>>],
    ) {
        for leader in leaders {
            if let Err(error) = self.settle(leader).await {
                warn!(job.id = %leader, error = %causes(&error), "its result is shared later");
            }
        }
        let written = outcomes.iter_mut().filter_map(|outcome| match outcome {
            Some(Ok(Written::New(job))) if job.shares_result_of.is_some() => Some(job),
            _ => None,
        });
        let written: Vec<_> = written.collect();
        let ids = written.iter().map(|job| job.id.to_string()).collect();
        match self.stored_of(ids).await {
            Ok(mut stored) => {
                for job in written {
                    let now = stored.remove(&job.id.to_string()).map(read_job);
                    if let Some(Ok(now)) = now {
                        **job = now;
                    }
                }
            }
            Err(error) => warn!(error = %causes(&error), "new jobs are told as they were a moment ago"),
        }
    }
}

fn place(new: &NewJob) -> Option<Place> {
    Some((new.tenant.as_str().to_owned(), new.share_key.as_ref()?.as_str().to_owned()))
}

fn leader(document: &Document) -> Option<(Place, Leader)> {
    let text = |field: &str| document.get_str(field).ok();
    let leader = Leader {
        id: text("_id")?.parse().ok()?,
        is_finished: document.get_bool("isFinished").unwrap_or(false),
        is_worth_sharing: document.get_bool("isWorthSharing").unwrap_or(false),
    };
    Some(((text("tenant")?.to_owned(), text("shareKey")?.to_owned()), leader))
}

/// Up to when a range may go to be over. A later one touches the current hour, which is still being written, or ended a moment ago.
fn end_of_closed() -> Document {
    let this_hour = doc! { "$dateTrunc": { "date": "$$NOW", "unit": "hour" } };
    doc! { "$min": [this_hour, { "$subtract": ["$$NOW", millis(MARGIN)] }] }
}

/// Whether a leader's result can be expected, and be had for some time.
fn is_worth_sharing() -> Document {
    let is_in = |state: JobState| doc! { "$eq": ["$state", state.as_str()] };
    let half_its_time = doc! { "$divide": [{ "$subtract": ["$expiresAt", "$finishedAt"] }, 2] };
    let least = doc! { "$min": [millis(LEAST_LIFETIME), half_its_time] };
    let left = doc! { "$subtract": ["$expiresAt", "$$NOW"] };
    let is_kept_for_ever = doc! { "$lte": ["$expiresAt", null] };
    doc! { "$or": [
        { "$and": [{ "$in": ["$state", [JobState::NotStarted.as_str(), JobState::Started.as_str()]] },
                   { "$ne": ["$cancelRequested", true] }] },
        { "$and": [is_in(JobState::Finished), { "$or": [is_kept_for_ever, { "$gte": [left, least] }] }] },
    ] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_over_after_its_hour_and_a_margin() {
        let minutes = i64::try_from(MARGIN.as_secs() / 60).expect("small");
        // Above what a secondary that is read may be behind: two minutes.
        assert_eq!(minutes, 5);
        let margin_ago = doc! { "$subtract": ["$$NOW", minutes * 60_000] };
        let this_hour = doc! { "$dateTrunc": { "date": "$$NOW", "unit": "hour" } };
        assert_eq!(end_of_closed(), doc! { "$min": [this_hour, margin_ago] });
    }
}
