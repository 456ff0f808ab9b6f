//! Resuming reads after failures: every document is read exactly once, in order.

use std::io::Read;
use std::net::TcpStream;

use bson::{Bson, Decimal128, Document, doc};
use export_core::source::Source as _;
use export_core::{TimeRange, VehicleId};
use export_source::{MongoSource, ReadLimits, SourceThrottle, StoreError, VehicleDatabases, connect};
use export_testkit::isolation::TestSpace;
use export_testkit::own::OwnMongod;
use export_testkit::proxy::Proxy;
use export_testkit::services::Services;
use tokio::runtime::Handle;

use crate::reading::{Fixture, SOON, becomes, document, number};

const DOCUMENTS: i64 = 120;
/// Small batches, so that most of the collection is unread at any interruption.
const SHARE_BYTES: usize = 240 << 10;
const DOCUMENT_BYTES: usize = 20 << 10;

/// Closes all connections, and then accepts new ones.
fn cut_once(proxy: &Proxy) {
    let mut last = TcpStream::connect(proxy.address()).expect("connected");
    last.set_read_timeout(Some(SOON)).expect("a time limit");
    // MongoDB never sends first, so this reads the end of the connection.
    proxy.cut();
    assert!(matches!(last.read(&mut [0]), Ok(0)), "the connection is ended");
    proxy.restore();
}

/// A number in each type that an `_id` may have.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn of_any_type(id: i64) -> Bson {
    match id % 4 {
        0 => Bson::Int64(id),
        1 => Bson::Int32(i32::try_from(id).expect("a small number")),
        2 => Bson::Double(id as f64),
        _ => Bson::Decimal128(id.to_string().parse::<Decimal128>().expect("a number")),
    }
}

#[tokio::test]
async fn batches_that_end_at_ids_of_any_type_lose_and_repeat_nothing() {
    let space = TestSpace::create().await;
    let stored: Vec<Document> = (0..DOCUMENTS).map(|id| document(of_any_type(id), DOCUMENT_BYTES)).collect();
    space.insert_hours("001", "soc", stored.clone()).await;
    // Batches of one, of a few, and of many.
    let mut fixture = Fixture::new(space, 1).await;
    for share_bytes in [1, SHARE_BYTES, SHARE_BYTES * 5] {
        fixture = Fixture::new(fixture.space, share_bytes).await;
        let expected = stored.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut hours = fixture.open("soc");
            let documents = std::iter::from_fn(|| hours.next().expect("a document"));
            let found: Vec<_> =
                documents.map(|bytes| Document::from_reader(&bytes[..]).expect("BSON")).collect();
            assert!(found == expected, "{} documents instead of {}", found.len(), expected.len());
            drop(hours);
            fixture
        });
        fixture = read.await.expect("no panic");
    }
    fixture.space.cleanup().await;
}

#[tokio::test]
async fn an_answer_that_is_full_is_no_end_and_leaves_no_cursor() {
    let space = TestSpace::create().await;
    for id in 0..10_i64 {
        space.insert_hours("001", "soc", vec![document(id, 5 << 20)]).await;
    }
    // By the assumed size 32 documents fit into a batch: the server's reply ends after three.
    Fixture::new(space, 64 << 20)
        .await
        .blocking(move |fixture| {
            let mut hours = fixture.open("soc");
            for expected in 0..10 {
                let bytes = hours.next().expect("a document").expect("a document");
                assert_eq!(number(&bytes), expected);
            }
            assert!(hours.next().expect("the end").is_none());
            assert_eq!(becomes(&0, || fixture.cursors("soc").len()), 0);
        })
        .await;
}

#[tokio::test]
async fn cut_connections_lose_and_repeat_nothing() {
    let space = TestSpace::create().await;
    let stored = (0..DOCUMENTS).map(|id| document(id, DOCUMENT_BYTES)).collect();
    space.insert_hours("001", "soc", stored).await;
    let proxy = Proxy::start(space.services.mongodb_address().to_owned()).await;
    let uri = space.services.mongodb_uri_through(&proxy.address().to_string());
    let client = connect(&uri.into(), "store tests").await.expect("a client");
    Fixture::over(&client, space, SHARE_BYTES)
        .blocking(move |fixture| {
            let mut hours = fixture.open("soc");
            for expected in 0..DOCUMENTS {
                let bytes = hours.next().expect("a document").expect("not the end");
                assert_eq!(number(&bytes), expected);
                if expected % 50 == 20 {
                    cut_once(&proxy);
                }
            }
            assert!(hours.next().expect("the end").is_none());
        })
        .await;
}

#[tokio::test]
async fn a_collection_that_goes_away_is_an_error_and_no_end() {
    let space = TestSpace::create().await;
    let stored = (0..DOCUMENTS).map(|id| document(id, DOCUMENT_BYTES)).collect();
    space.insert_hours("001", "soc", stored).await;
    Fixture::new(space, SHARE_BYTES)
        .await
        .blocking(move |fixture| {
            let mut hours = fixture.open("soc");
            hours.next().expect("a document").expect("a document");
            let database = fixture.space.mongodb.database(&fixture.space.vehicle("001"));
            let dropped = database.collection::<Document>("soc");
            fixture.handle.block_on(async { dropped.drop().await }).expect("dropped");
            let error = loop {
                match hours.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("a collection without its rest looked whole"),
                    Err(error) => break error,
                }
            };
            let error = error.0.downcast::<StoreError>().expect("an error of this layer");
            assert!(matches!(*error, StoreError::Driver { .. }), "{error:?}");
        })
        .await;
}

/// The first batch reaches its limit, so only the second, empty read could end the collection.
#[tokio::test]
async fn a_collection_that_goes_away_after_one_full_batch_is_an_error_and_no_end() {
    let space = TestSpace::create().await;
    space.insert_hours("001", "soc", vec![document(1, 10)]).await;
    // A share that is always too small: batches of one document, each read only when it is wanted.
    Fixture::new(space, 1)
        .await
        .blocking(move |fixture| {
            let mut hours = fixture.open("soc");
            hours.next().expect("a document").expect("a document");
            let database = fixture.space.mongodb.database(&fixture.space.vehicle("001"));
            let dropped = database.collection::<Document>("soc");
            fixture.handle.block_on(async { dropped.drop().await }).expect("dropped");
            let error = hours.next().expect_err("it is unknown whether there was more");
            let error = error.0.downcast::<StoreError>().expect("an error of this layer");
            assert!(matches!(*error, StoreError::Driver { .. }), "{error:?}");
        })
        .await;
}

/// Reads that the source stops at `maxTimeMS` are reported to the throttle and retried.
#[tokio::test(flavor = "multi_thread")]
async fn reads_that_the_server_aborts_are_counted_and_retried() {
    const GIVEN_UP: u32 = 4;
    let mongod = OwnMongod::start().await;
    let services = Services { mongodb_uri: mongod.uri(), ..Services::from_environment() };
    let space = TestSpace::create_on(services).await;
    let stored = (0..DOCUMENTS).map(|id| document(id, DOCUMENT_BYTES)).collect();
    space.insert_hours("001", "soc", stored).await;
    let client = connect(&mongod.uri().into(), "test").await.expect("a client");
    let throttle = SourceThrottle::new(&client, ReadLimits::default());
    let databases = VehicleDatabases::with_throttle(&throttle, &space.vehicle_prefix);
    let source = MongoSource::new(databases, Handle::current(), SHARE_BYTES);
    let vehicle: VehicleId = space.vehicle("001").parse().expect("a vehicle");
    let gives_up = doc! { "configureFailPoint": "failCommand", "mode": { "times": i64::from(GIVEN_UP) },
    "data": { "failCommands": ["find"], "errorCode": 50 } };
    let (admin, handle) = (space.mongodb.database("admin"), Handle::current());
    let read = tokio::task::spawn_blocking(move || {
        let everything = TimeRange::new(0, TimeRange::MAX_MS).expect("a range");
        let soc = "soc".parse().expect("a parameter");
        let mut hours = source.open(&vehicle, &soc, everything).expect("opened");
        let first = hours.next().expect("a document").expect("not the end");
        handle.block_on(async { admin.run_command(gives_up).await }).expect("set");
        let rest = std::iter::from_fn(|| hours.next().expect("a document"));
        std::iter::once(first).chain(rest).map(|bytes| number(&bytes)).collect::<Vec<i64>>()
    });
    assert_eq!(read.await.expect("no panic"), (0..DOCUMENTS).collect::<Vec<i64>>());
    assert_eq!(throttle.now().timeouts, u64::from(GIVEN_UP));
    space.cleanup().await;
}

/// A step-down of the primary during the plan does not fail the attempt. (The driver itself retries
/// only once.)
#[tokio::test(flavor = "multi_thread")]
async fn vehicles_and_parameters_are_listed_again_while_there_is_no_primary() {
    let mongod = OwnMongod::start().await;
    let services = Services { mongodb_uri: mongod.uri(), ..Services::from_environment() };
    let space = TestSpace::create_on(services).await;
    space.insert_hours("001", "soc", vec![doc! { "_id": 0_i64 }]).await;
    let client = connect(&mongod.uri().into(), "test").await.expect("a client");
    let databases = VehicleDatabases::new(&client, &space.vehicle_prefix);
    let source = MongoSource::new(databases, Handle::current(), 64 << 10);
    let admin = space.mongodb.database("admin");
    let handle = Handle::current();
    let listing = tokio::task::spawn_blocking(move || {
        let fails = |command: &str, times: i32| {
            let of = doc! { "configureFailPoint": "failCommand", "mode": { "times": times },
            "data": { "failCommands": [command], "errorCode": 13_435 } };
            handle.block_on(async { admin.run_command(of).await }).expect("set");
        };
        fails("listDatabases", 4);
        let vehicles = source.vehicles().expect("listed");
        fails("listCollections", 4);
        let parameters = source.parameters(&vehicles).expect("listed");
        // More failures than the retry budget: the listing fails.
        fails("listDatabases", 100);
        let error = source.vehicles().expect_err("there is no primary").0;
        let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
        handle.block_on(async { admin.run_command(off).await }).expect("set");
        (vehicles, parameters, error.downcast::<StoreError>().expect("an error of this layer"))
    });
    let (vehicles, parameters, gave_up) = listing.await.expect("no panic");
    assert_eq!((vehicles.len(), parameters), (1, vec![vec!["soc".parse().expect("a parameter")]]));
    assert!(matches!(*gave_up, StoreError::Driver { .. }), "{gave_up:?}");
    space.cleanup().await;
}
