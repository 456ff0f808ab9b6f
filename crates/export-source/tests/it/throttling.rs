//! The throttle with many readers and a limited source.

use std::collections::HashSet;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_core::source::{HourDocuments, Source};
use export_core::{TimeRange, VehicleId};
use export_source::{
    MongoSource, ReadFrom, ReadLimits, SourceThrottle, StoreError, VehicleDatabases, connect,
};
use export_testkit::isolation::TestSpace;
use export_testkit::own::OwnMongod;
use export_testkit::proxy::{Direction, Fault, Pattern, Proxy, Rule};
use export_testkit::services::Services;
use futures_util::TryStreamExt as _;
use tokio::runtime::Handle;

use crate::connection::client;
use crate::reading::{SOON, becomes, documents};

const DOCUMENT_BYTES: usize = 20 << 10;

fn at_most(max_reads: usize) -> ReadLimits {
    ReadLimits { max_reads: NonZeroUsize::new(max_reads).expect("not zero"), ..ReadLimits::default() }
}

/// Vehicle 001 of a test, read through a throttle.
struct Export {
    source: MongoSource,
    vehicle: VehicleId,
}

impl Export {
    fn of(throttle: &SourceThrottle, space: &TestSpace, share_bytes: usize) -> Self {
        let databases = VehicleDatabases::with_throttle(throttle, &space.vehicle_prefix);
        let source = MongoSource::new(databases, Handle::current(), share_bytes);
        Self { source, vehicle: space.vehicle("001").parse().expect("a vehicle") }
    }

    fn open(&self, name: &str) -> Box<dyn HourDocuments + '_> {
        let everything = TimeRange::new(0, TimeRange::MAX_MS).expect("a range");
        self.source.open(&self.vehicle, &name.parse().expect("a parameter"), everything).expect("opened")
    }

    /// Reads this many collections in parallel, like a merge; returns the number of documents.
    fn read(&self, collections: usize) -> usize {
        let mut open: Vec<_> = (0..collections).map(|index| self.open(&format!("p{index}"))).collect();
        let mut count = 0;
        while !open.is_empty() {
            open.retain_mut(|hours| {
                let is_there = hours.next().expect("a document").is_some();
                count += usize::from(is_there);
                is_there
            });
        }
        count
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_collections_of_several_exports_finish_with_any_limit_and_keep_it() {
    const COLLECTIONS: usize = 40;
    const EXPORTS: usize = 3;
    const SLOW_FINDS: i32 = 40;
    const SLOW_FIND_MS: i32 = 50;
    // A separate server, so that all cursors belong to this test.
    let mongod = OwnMongod::start().await;
    let services = Services { mongodb_uri: mongod.uri(), ..Services::from_environment() };
    let space = TestSpace::create_on(services).await;
    for index in 0..COLLECTIONS {
        space.insert_hours("001", &format!("p{index}"), documents(40, DOCUMENT_BYTES)).await;
    }
    let admin = space.mongodb.database("admin");
    for limit in [1, 3] {
        let client = connect(&mongod.uri().into(), "test").await.expect("a client");
        let throttle = SourceThrottle::new(&client, at_most(limit));
        // Some reads are slow, so that too many concurrent reads would be observed.
        let slow = doc! { "configureFailPoint": "failCommand", "mode": { "times": SLOW_FINDS },
        "data": { "failCommands": ["find"], "blockConnection": true, "blockTimeMS": SLOW_FIND_MS } };
        admin.run_command(slow).await.expect("set");
        let exports: Vec<_> = (0..EXPORTS)
            .map(|_| {
                // A share so small that the gate admits readers only because they are wanted.
                let export = Export::of(&throttle, &space, 64 << 10);
                tokio::task::spawn_blocking(move || export.read(COLLECTIONS))
            })
            .collect();
        let (mut most_cursors, mut most_reads, mut most_finds, mut samples) = (0, 0, 0, 0);
        let mut seen_before = HashSet::new();
        while !exports.iter().all(tokio::task::JoinHandle::is_finished) {
            let status = admin.run_command(doc! { "serverStatus": 1 }).await.expect("a status");
            most_cursors = most_cursors.max(open_cursors(&status));
            most_reads = most_reads.max(throttle.now().in_flight);
            let seen_now = finds_under_way(&space).await;
            // An operation in two successive observations ran between them; a single observation is
            // not atomic.
            most_finds = most_finds.max(seen_now.intersection(&seen_before).count());
            seen_before = seen_now;
            samples += 1;
        }
        for export in exports {
            assert_eq!(export.await.expect("no panic"), COLLECTIONS * 40);
        }
        assert!(samples > 0 && most_reads <= limit, "{most_reads} reads with a limit of {limit}");
        assert!(most_finds > 0 && most_finds <= limit, "{most_finds} finds on the server, limit {limit}");
        assert!(
            most_cursors <= i64::try_from(limit).expect("small"),
            "{most_cursors} cursors, limit {limit}"
        );
    }
    space.cleanup().await;
}

/// The ids of the operations on vehicles that the server reports as running.
async fn finds_under_way(space: &TestSpace) -> HashSet<i32> {
    let finds = [
        doc! { "$currentOp": { "allUsers": true } },
        doc! { "$match": { "ns": { "$regex": format!("^{}", space.vehicle_prefix) }, "active": true,
        "command.find": { "$exists": true } } },
    ];
    let finds = space.mongodb.database("admin").aggregate(finds).await.expect("current operations");
    let finds: Vec<Document> = finds.try_collect().await.expect("current operations");
    finds.iter().map(|find| find.get_i32("opid").expect("a number")).collect()
}

fn open_cursors(status: &Document) -> i64 {
    let open = status.get_document("metrics").and_then(|metrics| metrics.get_document("cursor"));
    let open = open.and_then(|cursor| cursor.get_document("open")).expect("cursors");
    open.get_i64("total").or_else(|_| open.get_i32("total").map(i64::from)).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_slows_down_is_read_less_and_more_when_it_recovers() {
    let space = TestSpace::create().await;
    for index in 0..12 {
        space.insert_hours("001", &format!("p{index}"), documents(20, DOCUMENT_BYTES)).await;
    }
    let proxy = Proxy::start(space.services.mongodb_address().to_owned()).await;
    let uri = space.services.mongodb_uri_through(&proxy.address().to_string());
    let client = connect(&uri.into(), "test").await.expect("a client");
    let throttle = SourceThrottle::new(&client, at_most(8));
    // Both times are far above the noise of a busy machine.
    let later = |ms: u64| {
        let delay = Fault::Delay(Direction::Answers, Duration::from_millis(ms));
        Rule::request(Pattern::any().containing(b"find\0"), delay)
    };
    let usual = proxy.add(later(100));
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let export = Export::of(&throttle, &space, 4 << 20);
    let reading = tokio::task::spawn_blocking(move || {
        while !over.load(Ordering::Relaxed) {
            assert_eq!(export.read(12), 12 * 20);
        }
    });
    let limit_becomes = |what: &'static str, wanted: fn(usize) -> bool| {
        let throttle = throttle.clone();
        async move {
            let asked_at = Instant::now();
            while !wanted(throttle.now().limit) {
                assert!(asked_at.elapsed() < SOON * 6, "{what}: {:?}", throttle.now());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    limit_becomes("a source that is well", |limit| limit >= 4).await;
    usual.lift();
    let slow = proxy.add(later(1_000));
    limit_becomes("a source that suffers", |limit| limit <= 2).await;
    slow.lift();
    proxy.add(later(100));
    limit_becomes("a source that has recovered", |limit| limit >= 4).await;
    is_over.store(true, Ordering::Relaxed);
    reading.await.expect("no panic");
    space.cleanup().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_bytes_are_read_than_the_rate_allows() {
    const RATE: u64 = 256 << 10;
    let space = TestSpace::create().await;
    for index in 0..4 {
        space.insert_hours("001", &format!("p{index}"), documents(16, DOCUMENT_BYTES)).await;
    }
    let client = client(&space).await;
    let limits = ReadLimits { max_bytes_per_second: NonZeroU64::new(RATE), ..ReadLimits::default() };
    let throttle = SourceThrottle::new(&client, limits);
    let began_at = Instant::now();
    let export = Export::of(&throttle, &space, 4 << 20);
    let read = tokio::task::spawn_blocking(move || export.read(4));
    assert_eq!(read.await.expect("no panic"), 64);
    // Only a lower bound is certain. The burst of one second is free, and the debt of the last
    // reply is not waited for.
    let bytes = (64 * DOCUMENT_BYTES) as u64;
    let at_once = RATE + RATE + (80 << 10);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let least_seconds = bytes.saturating_sub(at_once) as f64 / RATE as f64;
    assert!(began_at.elapsed().as_secs_f64() >= least_seconds, "{:?}", began_at.elapsed());
    space.cleanup().await;
}

#[tokio::test]
async fn batches_are_range_scans_of_the_index() {
    let space = TestSpace::create().await;
    space.insert_hours("001", "soc", documents(100, 10)).await;
    let database = space.mongodb.database(&space.vehicle("001"));
    let find = doc! { "find": "soc", "filter": { "_id": { "$gt": 50_i64, "$lt": 80_i64 } }, "sort": { "_id": 1 },
    "limit": 10, "batchSize": 11 };
    let explained = database.run_command(doc! { "explain": find, "verbosity": "executionStats" }).await;
    let explained = explained.expect("an explanation");
    let stats = explained.get_document("executionStats").expect("figures");
    let number = |name: &str| stats.get_i32(name).expect("a number");
    let plan = explained.to_string();
    assert!(plan.contains("IXSCAN") && !plan.contains("COLLSCAN") && !plan.contains("\"SORT\""), "{plan}");
    assert!(number("totalKeysExamined") <= 11 && number("totalDocsExamined") <= 11, "{plan}");
    space.cleanup().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secondary_nothing_is_read_that_should_come_from_one() {
    let mongod = OwnMongod::start().await;
    let services = Services { mongodb_uri: mongod.uri(), ..Services::from_environment() };
    let space = TestSpace::create_on(services).await;
    space.insert_hours("001", "soc", documents(3, 10)).await;
    for (read_from, is_there) in
        [(ReadFrom::Secondary, false), (ReadFrom::SecondaryPreferred, true), (ReadFrom::Nearest, true)]
    {
        let client = connect(&mongod.uri().into(), "test").await.expect("a client");
        let throttle = SourceThrottle::new(&client, ReadLimits { read_from, ..ReadLimits::default() });
        let export = Export::of(&throttle, &space, 1 << 20);
        let read = tokio::task::spawn_blocking(move || {
            let listed = export.source.vehicles().map(|vehicles| vehicles.len());
            let parameters = export.source.parameters(std::slice::from_ref(&export.vehicle));
            let first = export.open("soc").next();
            (listed, parameters, first)
        });
        let (listed, parameters, first) = read.await.expect("no panic");
        assert_eq!((listed.is_ok(), parameters.is_ok(), first.is_ok()), (is_there, is_there, is_there));
        if is_there {
            assert_eq!((listed.expect("listed"), parameters.expect("listed")[0].len()), (1, 1));
        } else {
            let error = first.expect_err("no secondary").0.downcast::<StoreError>().expect("of this layer");
            assert!(matches!(*error, StoreError::Driver { .. }), "{error:?}");
        }
    }
    space.cleanup().await;
}

/// The final check that a collection still exists is abandoned when the export has ended while it
/// waits for the throttle.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_look_at_a_collection_is_not_waited_for_without_a_reader() {
    let space = TestSpace::create().await;
    space.insert_hours("001", "p0", documents(2, DOCUMENT_BYTES)).await;
    space.insert_hours("001", "p1", documents(2, DOCUMENT_BYTES)).await;
    let proxy = Proxy::start(space.services.mongodb_address().to_owned()).await;
    let uri = space.services.mongodb_uri_through(&proxy.address().to_string());
    let client = connect(&uri.into(), "test").await.expect("a client");
    let throttle = SourceThrottle::new(&client, at_most(1));
    let hold = |collection: &str| {
        let find = Pattern::any().containing(b"find\0").containing(format!("{collection}\0"));
        Rule::request(find, Fault::Hold(Direction::Requests))
    };
    // Batches of one document: the third read is empty, and is delayed until the other collection
    // waits for a permit.
    let last = proxy.add(hold("p0").let_through(2));
    let other = proxy.add(hold("p1"));
    let (ends, waits) = (Export::of(&throttle, &space, 240 << 10), Export::of(&throttle, &space, 240 << 10));
    let waits = tokio::task::spawn_blocking(move || {
        let mut hours = ends.open("p0");
        hours.next().expect("a document").expect("a document");
        let handle = Handle::current();
        handle.block_on(last.until_seen(3));
        let reads = handle.spawn_blocking(move || waits.open("p1").next().expect("a document").is_some());
        // It enters the queue before the final check does.
        while throttle.now().waiting < 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
        last.lift();
        handle.block_on(other.until_seen(1));
        drop(hours);
        assert_eq!(becomes(&0, || ends.source.read_ahead().readers), 0);
        other.lift();
        reads
    });
    assert!(waits.await.expect("no panic").await.expect("no panic"));
    space.cleanup().await;
}

/// Sampling resumes after a time in which the server did not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_say_how_it_is_is_asked_again() {
    let space = TestSpace::create().await;
    space.insert_hours("001", "p0", documents(20, DOCUMENT_BYTES)).await;
    let proxy = Proxy::start(space.services.mongodb_address().to_owned()).await;
    let uri = space.services.mongodb_uri_through(&proxy.address().to_string());
    let client = connect(&uri.into(), "test").await.expect("a client");
    let throttle = SourceThrottle::new(&client, at_most(1));
    let asked = Pattern::any().containing(b"serverStatus\0");
    let asked = proxy.add(Rule::request(asked, Fault::Reset).times(3));
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let export = Export::of(&throttle, &space, 4 << 20);
    let reading = tokio::task::spawn_blocking(move || {
        while !over.load(Ordering::Relaxed) {
            assert_eq!(export.read(1), 20);
        }
    });
    asked.until_seen(4).await;
    is_over.store(true, Ordering::Relaxed);
    reading.await.expect("no panic");
    space.cleanup().await;
}
