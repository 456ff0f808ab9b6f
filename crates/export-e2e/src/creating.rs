//! Creates jobs without the API.

use export_core::job::NewJob;
use export_store::{JobStore, Written};

/// Creates a job without the API. Panics when the store does not create it.
pub async fn create(jobs: &JobStore, new: &NewJob) {
    let created = jobs.create_all(std::slice::from_ref(new)).await;
    let created = created.unwrap_or_else(|error| panic!("no job: {error}"));
    assert!(matches!(created[..], [Ok(Written::New(_))]), "{created:?}");
}
