//! Creates jobs, many at once: the cost is the wait for the journals of a majority, and that wait
//! does not depend on the number of jobs.

use std::collections::HashMap;
use std::time::Duration;

use bson::{Bson, Document, doc};
use export_core::Tenant;
use export_core::job::{Idempotency, Job, JobState, NewJob, Progress};
use export_core::trace::TraceParent;
use export_mongo::StoreError;
use export_mongo::clock::{after_now, millis};
use export_mongo::server_errors::{DUPLICATE_KEY, STEPPED_DOWN};
use mongodb::error::ErrorKind;
use mongodb::options::FindOptions;
use serde::Deserialize;

use crate::jobs::JobStore;
use crate::jobs::document::{progress_document, read_job, request_fields};
use crate::jobs::lookups::of_idempotency_key;

/// Attempts to read a job that a concurrent request with the same key has just created, and the
/// delay between them. A majority has the job soon.
const OTHER_JOB_TRIES: u32 = 20;
const OTHER_JOB_WAIT: Duration = Duration::from_millis(50);
/// Attempts to read jobs that were just acknowledged, and the delay between them: a newly elected
/// primary may not show them yet.
const READ_BACK_TRIES: u32 = 10;
const READ_BACK_WAIT: Duration = Duration::from_millis(100);
/// Timeout for the majority's acknowledgement, as in the options of the collections.
const MAJORITY: Duration = Duration::from_secs(10);

/// Minimum time since the end of a range before its result may be shared; the range must also end
/// before the current hour ([`latest_end_of_closed_range`]). The source may be read from a
/// secondary that lags by up to 120 seconds (`MAX_STALENESS`), clocks differ, and vehicles upload
/// with a delay: a result that lacks the last minutes must not be shared for days.
const MARGIN: Duration = Duration::from_mins(5);

/// Outcome of accepting a job.
#[derive(Debug)]
pub enum Created {
    /// The job is stored, and durable.
    New(Job),
    /// The same request was accepted before; this is its job.
    Before(Job),
    /// Another request has this idempotency key.
    KeyTaken,
}

/// The outcome of writing one of several jobs.
#[derive(Debug)]
pub enum Written {
    /// The job is stored, and durable.
    New(Box<Job>),
    /// The job was not written, because its idempotency key exists; [`JobStore::accepted_before`]
    /// finds the earlier job.
    KeyKnown,
    /// The database rejected the job, so it is not stored.
    Refused(StoreError),
}

impl JobStore {
    /// Accepts jobs independently of each other; returns one outcome for each, in their order. When
    /// this returns, the created jobs survive any crash.
    ///
    /// # Errors
    ///
    /// Outer error: each of the jobs may or may not exist. Inner error: this job may or may not
    /// exist.
    ///
    /// The earlier job of a known idempotency key is not looked up here, because the other jobs
    /// would wait for that.
    pub async fn create_all(&self, new: &[NewJob]) -> Result<Vec<Result<Written, StoreError>>, StoreError> {
        let refused = self.upsert_all(new).await?;
        let made = new.iter().enumerate().filter(|(index, _)| !refused.contains_key(index));
        let mut stored = self.stored_of(made.map(|(_, new)| new.id.to_string()).collect()).await?;
        let mut created = Vec::with_capacity(new.len());
        for (index, new) in new.iter().enumerate() {
            let of_this = match (refused.get(&index), stored.remove(&new.id.to_string())) {
                (None, Some(document)) => read_job(document).map(|job| Written::New(Box::new(job))),
                (Some(Refused { code: DUPLICATE_KEY, .. }), _) if new.idempotency.is_some() => {
                    Ok(Written::KeyKnown)
                }
                (Some(refused), _) => Ok(Written::Refused(StoreError::Rejected(refused.errmsg.clone()))),
                (None, None) => Err(StoreError::Contended("a job that was just created")),
            };
            created.push(of_this);
        }
        Ok(created)
    }

    /// Writes all jobs with one command; returns the errors of rejected jobs, by position.
    ///
    /// Upserts instead of inserts, because only updates can use the server's time. Ids are never
    /// reused, so each upsert inserts. If the command is repeated after a lost answer, it must not
    /// change what the first one has inserted.
    async fn upsert_all(&self, new: &[NewJob]) -> Result<HashMap<usize, Refused>, StoreError> {
        let updates: Vec<Document> = new.iter().map(upsert).collect();
        let command = doc! {
            "update": self.jobs.name(),
            "updates": updates,
            // Unordered: a rejected job must not stop the others.
            "ordered": false,
            "writeConcern": { "w": "majority", "j": true, "wtimeout": millis(MAJORITY) },
        };
        let database = self.jobs.database();
        let write = |_| async move {
            match database.run_command(command.clone()).await {
                Ok(answer) if has_stepped_down(&answer) => database.run_command(command).await,
                Err(error) if is_worth_repeating(&error) => database.run_command(command).await,
                outcome => outcome,
            }
        };
        let answer = self.jobs.run("create jobs", write).await?;
        // A write without a majority may be lost, so no job is reported as accepted.
        if let Ok(concern) = answer.get_document("writeConcernError") {
            return Err(StoreError::NotDurable(
                concern.get_str("errmsg").unwrap_or("no reason given").to_owned(),
            ));
        }
        let errors = answer.get("writeErrors").cloned().unwrap_or_else(|| Bson::Array(Vec::new()));
        let refused: Vec<Refused> = bson::deserialize_from_bson(errors)
            .map_err(|error| StoreError::Corrupt(format!("the errors of created jobs: {error}")))?;
        Ok(refused.into_iter().map(|refused| (refused.index, refused)).collect())
    }

    /// The jobs with these ids, by id. Reads again a few times; jobs that stay invisible are left
    /// out.
    async fn stored_of(&self, ids: Vec<String>) -> Result<HashMap<String, Document>, StoreError> {
        let mut stored = HashMap::with_capacity(ids.len());
        if ids.is_empty() {
            return Ok(stored);
        }
        for tries in 1..=READ_BACK_TRIES {
            let filter = doc! { "_id": { "$in": &ids } };
            let found = self.jobs.find("read created jobs", filter, FindOptions::default()).await?;
            let named = |document: Document| Some((document.get_str("_id").ok()?.to_owned(), document));
            stored = found.into_iter().filter_map(named).collect();
            if stored.len() >= ids.len() || tries == READ_BACK_TRIES {
                break;
            }
            tokio::time::sleep(READ_BACK_WAIT).await;
        }
        Ok(stored)
    }

    /// The job that an earlier request of this caller with the same idempotency key has created.
    pub async fn accepted_before(
        &self,
        tenant: &Tenant,
        created_by: &str,
        idempotency: &Idempotency,
    ) -> Result<Created, StoreError> {
        for _ in 0..OTHER_JOB_TRIES {
            let filter = of_idempotency_key(tenant, created_by, &idempotency.key);
            let found = self.jobs.find_one("find the job of an idempotency key", filter, doc! {}).await?;
            if let Some(document) = found {
                let is_same =
                    document.get_str("requestHash").is_ok_and(|hash| hash == idempotency.request_hash);
                if !is_same {
                    return Ok(Created::KeyTaken);
                }
                let found = read_job(document)?;
                // Read again by the function that checks whether the result has expired.
                return Ok(Created::Before(self.get(found.id).await?.unwrap_or(found)));
            }
            tokio::time::sleep(OTHER_JOB_WAIT).await;
        }
        Err(StoreError::Contended("the job of an idempotency key"))
    }
}

/// One job, as an update that creates it.
fn upsert(new: &NewJob) -> Document {
    let id = new.id.to_string();
    let mut fields = request_fields(&id, new);
    fields.extend(initial_state(new));
    let literal = doc! { "$literal": fields };
    let by_server = doc! {
        "createdAt": "$$NOW",
        "runAfter": "$$NOW",
        "turnAt": after_now(new.priority.queue_delay()),
        "shareKey": share_key(new),
    };
    let new_document = doc! { "$mergeObjects": [literal, by_server] };
    let is_there = doc! { "$ne": [{ "$type": "$state" }, "missing"] };
    doc! {
        "q": { "_id": id },
        "u": [{ "$replaceWith": { "$cond": [is_there, "$$ROOT", new_document] } }],
        "upsert": true,
    }
}

/// The state of a new job; the server adds the times.
fn initial_state(new: &NewJob) -> Document {
    doc! {
        "state": JobState::NotStarted.as_str(),
        "epoch": 0_i64,
        "attempts": 0_i64,
        "maxAttempts": i64::from(new.max_attempts),
        "priority": new.priority.as_str(),
        "owner": null,
        "leaseUntil": null,
        "publishedAt": null,
        "cancelRequested": false,
        "progress": progress_document(&Progress::default()),
        "waitingFor": null,
        "resultId": null,
        "shared": false,
        "exportUri": null,
        "stats": null,
        "error": null,
        "startedAt": null,
        "finishedAt": null,
        "expiresAt": null,
        "unannounced": [],
        "traceparent": new.trace_parent.as_ref().map(TraceParent::as_str),
    }
}

/// The stored share key, as a server-side expression: the job's key if its range has ended, by the
/// server's clock, and null otherwise. Until then a result is not final, so the job shares none.
fn share_key(new: &NewJob) -> Bson {
    let Some(key) = &new.share_key else { return Bson::Null };
    let to = bson::DateTime::from_millis(new.request.range.to_ms());
    doc! { "$cond": [{ "$lte": [to, latest_end_of_closed_range()] }, key.as_str(), null] }.into()
}

/// Latest end of a range that counts as ended, as a server-side expression: the start of the
/// current hour, which is still being written, or [`MARGIN`] ago if that is earlier.
fn latest_end_of_closed_range() -> Document {
    let this_hour = doc! { "$dateTrunc": { "date": "$$NOW", "unit": "hour" } };
    doc! { "$min": [this_hour, { "$subtract": ["$$NOW", millis(MARGIN)] }] }
}

/// Whether the answer may have been lost, or another server has become the primary: the errors
/// after which the driver retries the commands that it knows.
fn is_worth_repeating(error: &mongodb::error::Error) -> bool {
    match &*error.kind {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } => true,
        ErrorKind::Command(command) => STEPPED_DOWN.contains(&command.code),
        _ => false,
    }
}

/// Whether the primary has written, but stepped down while it waited for a majority: the next
/// primary may have all of the writes, or not.
fn has_stepped_down(answer: &Document) -> bool {
    let concern = answer.get_document("writeConcernError");
    concern.is_ok_and(|concern| concern.get_i32("code").is_ok_and(|code| STEPPED_DOWN.contains(&code)))
}

/// The server's answer about an update that it did not make.
#[derive(Debug, Deserialize)]
struct Refused {
    /// The position of the update in the command.
    index: usize,
    code: i32,
    #[serde(default)]
    errmsg: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_ended_after_its_hour_and_a_margin() {
        let minutes = i64::try_from(MARGIN.as_secs() / 60).expect("small");
        // Above the maximum lag of a secondary that is read: two minutes.
        assert_eq!(minutes, 5);
        let margin_ago = doc! { "$subtract": ["$$NOW", minutes * 60_000] };
        let this_hour = doc! { "$dateTrunc": { "date": "$$NOW", "unit": "hour" } };
        assert_eq!(latest_end_of_closed_range(), doc! { "$min": [this_hour, margin_ago] });
    }
}
