//! A server that is not there, and invalid addresses.

use std::time::{Duration, Instant};

use export_store::{JobStore, StoreError, connect};
use export_testkit::services::UNREACHABLE_MONGODB_URI;

use crate::store::new_id;

/// The driver looks for a server for five seconds.
const LIMIT: Duration = Duration::from_secs(8);

#[tokio::test]
async fn every_operation_ends_with_an_error() {
    let asked_at = Instant::now();
    let client = connect(&UNREACHABLE_MONGODB_URI.into(), "store tests").await;
    let client = client.expect("connecting does not wait for the server");
    let jobs = JobStore::new(&client, "exports");
    let (ping, get, claim) = tokio::join!(
        client.ping(),
        jobs.get(new_id()),
        jobs.claim(new_id(), "worker", Duration::from_secs(30)),
    );
    for error in [ping.err(), get.err(), claim.err()] {
        let error = error.expect("no server, so an error");
        assert!(matches!(error, StoreError::Driver { .. }), "{error:?}");
    }
    assert!(asked_at.elapsed() < LIMIT, "{:?}", asked_at.elapsed());
}

#[tokio::test]
async fn an_address_that_is_none_is_not_repeated() {
    for uri in ["hunter2", "mongodb://", "mongodb://user:hunter2@host:none/", "mongodb://host/?replicaSet"] {
        let error = connect(&uri.to_owned().into(), "store tests").await.expect_err("no address");
        assert!(matches!(error, StoreError::ConnectionString), "{uri}: {error:?}");
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
}
