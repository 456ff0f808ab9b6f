//! A server that is not there, and addresses that are none.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use export_mongo::{JobStore, StoreError, VehicleDatabases, connect};

use crate::store::new_id;

/// The driver looks for a server for five seconds.
const LIMIT: Duration = Duration::from_secs(8);

/// A port of this machine where nobody listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test]
async fn every_operation_ends_with_an_error() {
    let uri = format!("mongodb://127.0.0.1:{}/?replicaSet=rs0", closed_port());
    let asked_at = Instant::now();
    let client = connect(&uri.into(), "store tests").await.expect("connecting waits for nobody");
    let jobs = JobStore::new(&client, "exports");
    let databases = VehicleDatabases::new(&client, "vehicle_");
    let range = export_core::TimeRange::new(0, 1).expect("a range");
    let (vehicle, parameter) = ("vehicle_001".parse().expect("a name"), "soc".parse().expect("a name"));
    let mut hours = databases.read_hours(&vehicle, &parameter, range);
    let (ping, get, claim, vehicles, first_batch) = tokio::join!(
        client.ping(),
        jobs.get(new_id()),
        jobs.claim(new_id(), "worker"),
        databases.vehicles(),
        hours.next(),
    );
    for error in [ping.err(), get.err(), claim.err(), vehicles.err(), first_batch.err()] {
        let error = error.expect("no server, so an error");
        assert!(matches!(error, StoreError::Driver { .. }), "{error:?}");
    }
    assert!(asked_at.elapsed() < LIMIT, "{:?}", asked_at.elapsed());
    let after = hours.next().await.expect_err("an end that was not said");
    assert!(matches!(after, StoreError::ReaderLost), "{after:?}");
}

#[tokio::test]
async fn an_address_that_is_none_is_not_repeated() {
    for uri in ["hunter2", "mongodb://", "mongodb://user:hunter2@host:none/", "mongodb://host/?replicaSet"] {
        let error = connect(&uri.to_owned().into(), "store tests").await.expect_err("no address");
        assert!(matches!(error, StoreError::ConnectionString), "{uri}: {error:?}");
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
}
