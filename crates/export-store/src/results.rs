//! Results as documents, in the collection `results`: one for each export that a worker writes or
//! has written.
//!
//! Jobs share *results*. A job either writes a result of its own, or commits with a result that
//! another job of its tenant has written for the same request
//! ([`ShareKey`](export_core::sharing::ShareKey)). A result has the id of the job that writes it,
//! so a job writes at most one.
//!
//! **Uniqueness.** Two unique indexes decide every race, whatever the timing and the number of
//! workers: of the results with one share key, at most one is WRITING, and at most one is current,
//! the one that other jobs share.
//!
//! **Liveness.** A WRITING result counts only while its job is STARTED at the result's epoch
//! ([`is_void`](export_core::result::is_void)). After any other change of that job (given back,
//! failed, cancelled, lost, claimed again) the result is void, and the next worker or sweeper that
//! meets it removes it. So no change of a job has to release its result, and no job waits for ever
//! for a worker that is gone.
//!
//! **Order.** The result is finished before its job is committed. After a crash between the two,
//! the job's next claim finds the finished result and commits with it, without reading the source.
//!
//! What may change when is in [`export_core::rules::result`]. Every change that a service makes is
//! a compare-and-set made from a rule. Two changes by `exports provision` are not: it creates the
//! results of version 0.x, and shortens lifetimes ([`JobStore::limit_retention`]).

mod begin;
mod finish;
mod rules;
mod schema;
mod stored;
mod sweep;

use std::collections::HashMap;

use bson::{Document, doc};
use export_core::JobId;
use export_core::job::NewJob;
use export_core::result::ResultObject;
use export_core::rules::result::ResultTransition;
use export_mongo::StoreError;
use export_mongo::client::bounded;
use futures_util::TryStreamExt;

use crate::jobs::JobStore;

pub use begin::{Begun, Writing};
pub use stored::FinishedResult;
pub use sweep::SweptResults;

pub(crate) use rules::{GivenOfResult, filter};
pub(crate) use schema::{indexes, validator};
pub(crate) use stored::{content, read_finished};

/// All fields of a result except its list of objects, which may have thousands.
pub(crate) fn without_objects() -> Document {
    doc! { "objects": 0 }
}

impl JobStore {
    /// The objects of a finished result without archive, in the order they were written; empty for
    /// a zip. `None`: there is no such result, or it has expired.
    pub async fn objects_of(&self, result_id: JobId) -> Result<Option<Vec<ResultObject>>, StoreError> {
        let (results, filter) = (self.results.clone(), doc! { "_id": result_id.to_string() });
        let found = bounded("read the objects of a result", async move {
            results.find_one(filter).projection(doc! { "objects": 1 }).await
        })
        .await?;
        Ok(found.and_then(|mut result| bson::deserialize_from_bson(result.remove("objects")?).ok()))
    }

    /// The current results that these new jobs can use, by the position of the job, with one query.
    /// A job that asks for a fresh result can use none, because every current result was begun
    /// before the job is created.
    pub(crate) async fn current_results_for(
        &self,
        new: &[NewJob],
    ) -> Result<HashMap<usize, FinishedResult>, StoreError> {
        let mut filters: Vec<Document> = Vec::new();
        let mut jobs_of_key: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        let is_shareable = filter(ResultTransition::Share.rule(), &GivenOfResult::default());
        for (index, new) in new.iter().enumerate().filter(|(_, new)| !new.request.fresh) {
            let Some(key) = &new.share_key else { continue };
            let jobs = jobs_of_key.entry((new.tenant.as_str(), key.as_str())).or_default();
            if jobs.is_empty() {
                let mut of_key = doc! { "tenant": new.tenant.as_str(), "shareKey": key.as_str() };
                of_key.extend(is_shareable.clone());
                filters.push(of_key);
            }
            jobs.push(index);
        }
        if filters.is_empty() {
            return Ok(HashMap::new());
        }
        let results = self.results.clone();
        let found: Vec<Document> = bounded("find results to share", async move {
            let found = results.find(doc! { "$or": filters }).projection(without_objects());
            found.await?.try_collect().await
        })
        .await?;
        let mut shared = HashMap::new();
        for document in found {
            let key = (
                document.get_str("tenant").unwrap_or_default().to_owned(),
                document.get_str("shareKey").unwrap_or_default().to_owned(),
            );
            let result = read_finished(document)?;
            let jobs = jobs_of_key.get(&(key.0.as_str(), key.1.as_str())).into_iter().flatten();
            shared.extend(jobs.map(|index| (*index, result.clone())));
        }
        Ok(shared)
    }
}
