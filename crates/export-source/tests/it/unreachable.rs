//! An unreachable server.

use std::time::{Duration, Instant};

use export_core::source::Source;
use export_source::{MongoSource, StoreError, VehicleDatabases, connect};
use export_testkit::services::UNREACHABLE_MONGODB_URI;
use tokio::runtime::Handle;

/// The driver selects a server for at most five seconds.
const LIMIT: Duration = Duration::from_secs(8);

#[tokio::test]
async fn every_operation_ends_with_an_error() {
    let asked_at = Instant::now();
    let client = connect(&UNREACHABLE_MONGODB_URI.into(), "source tests").await;
    let client = client.expect("connecting does not wait for the server");
    let databases = VehicleDatabases::new(&client, "vehicle_");
    let range = export_core::TimeRange::new(0, 1).expect("a range");
    let (vehicle, parameter) = ("vehicle_001".parse().expect("a name"), "soc".parse().expect("a name"));
    // With its own throttle, because the second read would wait for the permit of the first.
    let read_too = VehicleDatabases::new(&client, "vehicle_");
    let source = MongoSource::new(read_too, Handle::current(), 1 << 20);
    // Reads of a database that has never answered are not retried, so they take no longer than the
    // other operations.
    let reading = tokio::task::spawn_blocking(move || {
        let mut hours = source.open(&vehicle, &parameter, range).expect("opening does not wait");
        [hours.next(), hours.next()].map(|outcome| outcome.expect_err("no server, so an error").0)
    });
    let (vehicles, read) = tokio::join!(databases.vehicles(), reading,);
    let vehicles = vehicles.expect_err("no server, so an error");
    assert!(matches!(vehicles, StoreError::Driver { .. }), "{vehicles:?}");
    assert!(asked_at.elapsed() < LIMIT, "{:?}", asked_at.elapsed());
    let read =
        read.expect("no panic").map(|error| *error.downcast::<StoreError>().expect("an error of this layer"));
    assert!(matches!(read, [StoreError::Driver { .. }, StoreError::ReaderLost]), "{read:?}");
}
