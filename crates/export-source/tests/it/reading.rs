//! Reading ahead: within the share of the memory budget, and without deadlock.

use std::time::{Duration, Instant};

use bson::spec::BinarySubtype;
use bson::{Binary, Document, doc};
use bytes::Bytes;
use export_core::source::{HourDocuments, Source};
use export_core::{Parameter, TimeRange, VehicleId};
use export_source::{MongoClient, MongoSource, ReadAhead, VehicleDatabases};
use export_testkit::isolation::TestSpace;
use futures_util::TryStreamExt;
use tokio::runtime::Handle;

use crate::connection::client;

/// Longest wait for something that takes milliseconds.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// MongoDB's maximum size of a document.
const LARGEST_BYTES: usize = 16 << 20;
/// The bytes of a reply besides its documents.
const FRAME_BYTES: usize = 1 << 10;

/// Vehicle 001 of the test as a source.
pub(crate) struct Fixture {
    pub(crate) space: TestSpace,
    pub(crate) handle: Handle,
    pub(crate) source: MongoSource,
    vehicle: VehicleId,
}

impl Fixture {
    pub(crate) async fn new(space: TestSpace, share_bytes: usize) -> Self {
        let client = client(&space).await;
        Self::over(&client, space, share_bytes)
    }

    pub(crate) fn over(client: &MongoClient, space: TestSpace, share_bytes: usize) -> Self {
        let databases = VehicleDatabases::new(client, &space.vehicle_prefix);
        let source = MongoSource::new(databases, Handle::current(), share_bytes);
        let vehicle = space.vehicle("001").parse().expect("a vehicle");
        Self { handle: Handle::current(), source, vehicle, space }
    }

    pub(crate) fn open(&self, name: &str) -> Box<dyn HourDocuments + '_> {
        let parameter: Parameter = name.parse().expect("a parameter");
        let everything = TimeRange::new(0, TimeRange::MAX_MS).expect("a range");
        self.source.open(&self.vehicle, &parameter, everything).expect("opened")
    }

    /// Runs a blocking function on its own thread, like the engine.
    pub(crate) async fn blocking(self, work: impl FnOnce(&Self) + Send + 'static) {
        let space = tokio::task::spawn_blocking(move || {
            work(&self);
            self.space
        });
        space.await.expect("no panic").cleanup().await;
    }

    /// The number of idle open cursors of a collection.
    pub(crate) fn cursors(&self, parameter: &str) -> Vec<Document> {
        let pipeline = [
            doc! { "$currentOp": { "idleCursors": true, "allUsers": true } },
            doc! { "$match": { "type": "idleCursor", "ns": format!("{}.{parameter}", self.vehicle) } },
        ];
        self.handle.block_on(async {
            let found = self.space.mongodb.database("admin").aggregate(pipeline).await.expect("operations");
            found.try_collect().await.expect("operations")
        })
    }
}

/// Polls until the value is the expected one, and returns the last value.
pub(crate) fn becomes<T: PartialEq>(wanted: &T, ask: impl Fn() -> T) -> T {
    let asked_at = Instant::now();
    loop {
        let answer = ask();
        if answer == *wanted || asked_at.elapsed() > SOON {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A document of about this size, with arbitrary content.
pub(crate) fn document(id: impl Into<bson::Bson>, bytes: usize) -> Document {
    let filler = Binary { subtype: BinarySubtype::Generic, bytes: vec![7; bytes] };
    doc! { "_id": id, "filler": filler }
}

pub(crate) fn documents(count: i64, bytes: usize) -> Vec<Document> {
    (0..count).map(|id| document(id, bytes)).collect()
}

/// The next document's number.
pub(crate) fn number(bytes: &Bytes) -> i64 {
    let document = Document::from_reader(&bytes[..]).expect("BSON");
    document.get_i64("_id").expect("a number")
}

fn rest(hours: &mut dyn HourDocuments) -> Vec<i64> {
    std::iter::from_fn(|| hours.next().expect("a document")).map(|bytes| number(&bytes)).collect()
}

#[tokio::test]
async fn reading_stops_while_no_document_is_taken_and_ends_with_its_reader() {
    let space = TestSpace::create().await;
    space.insert_hours("001", "soc", documents(60, 80 << 10)).await;
    // Three batches of four documents each fit.
    let share_bytes = 12 * (82 << 10);
    Fixture::new(space, share_bytes)
        .await
        .blocking(move |fixture| {
            let mut hours = fixture.open("soc");
            assert_eq!(
                fixture.source.read_ahead(),
                ReadAhead::default(),
                "nothing is read before it is asked for"
            );
            let first = hours.next().expect("a document").expect("a document");
            assert_eq!(number(&first), 0);
            let alive = || fixture.source.read_ahead().alive_bytes / (80 << 10);
            assert_eq!(becomes(&12, alive), 12, "one batch in use, one waiting, one in hand");
            assert_eq!(becomes(&0, || fixture.cursors("soc").len()), 0, "and nothing is open on the server");
            let seen = fixture.source.read_ahead();
            assert!(seen.alive_bytes > 11 * (80 << 10) && seen.peak_bytes <= share_bytes, "{seen:?}");
            assert_eq!(seen.readers, 1);

            drop(hours);
            assert_eq!(becomes(&0, || fixture.source.read_ahead().readers), 0, "the task ends");
            // The document, and with it its batch, outlives the collection.
            assert!(fixture.source.read_ahead().alive_bytes >= 4 * (80 << 10));
            drop(first);
            assert_eq!(fixture.source.read_ahead().alive_bytes, 0);
        })
        .await;
}

#[tokio::test]
async fn forty_collections_stay_within_their_share() {
    const COLLECTIONS: usize = 40;
    let space = TestSpace::create().await;
    let document_bytes = 20 << 10;
    for index in 0..COLLECTIONS {
        // Some are long, some are short, some are empty.
        let count = i64::try_from(index % 8 * 4).expect("a count");
        space.insert_hours("001", &format!("p{index}"), documents(count, document_bytes)).await;
    }
    let share_bytes = 2 << 20;
    Fixture::new(space, share_bytes)
        .await
        .blocking(move |fixture| {
            let mut collections: Vec<_> =
                (0..COLLECTIONS).map(|index| fixture.open(&format!("p{index}"))).collect();
            let mut given = vec![0; COLLECTIONS];
            let mut is_going = true;
            while is_going {
                is_going = false;
                for (hours, given) in collections.iter_mut().zip(&mut given) {
                    if let Some(bytes) = hours.next().expect("a document") {
                        assert_eq!(number(&bytes), *given, "in order, none twice, none left out");
                        *given += 1;
                        is_going = true;
                    }
                }
            }
            let expected: Vec<i64> =
                (0..COLLECTIONS).map(|index| i64::try_from(index % 8 * 4).expect("a count")).collect();
            assert_eq!(given, expected);
            let seen = fixture.source.read_ahead();
            // Documents are assumed to have 80 KiB until the first batch was read.
            assert!(seen.peak_bytes <= share_bytes + COLLECTIONS * (80 << 10), "{seen:?}");
            assert_eq!(seen.alive_bytes, 0);
        })
        .await;
}

#[tokio::test]
async fn an_engine_that_holds_on_to_everything_is_never_kept_waiting() {
    let space = TestSpace::create().await;
    for name in ["dense", "sparse", "other"] {
        let count = if name == "dense" { 200 } else { 40 };
        space.insert_hours("001", name, documents(count, 10 << 10)).await;
    }
    // From a share that is always too small to one that is sometimes large enough.
    let mut fixture = Fixture::new(space, 1).await;
    for share_bytes in [1, 64 << 10, 1 << 20] {
        fixture = Fixture::new(fixture.space, share_bytes).await;
        let held = tokio::task::spawn_blocking(move || {
            let mut held = Vec::new();
            {
                let mut collections = ["dense", "sparse", "other"].map(|name| fixture.open(name));
                // The slice needs many documents of one collection while the other collections
                // wait.
                for index in 0..200 {
                    held.extend(collections[0].next().expect("a document"));
                    if index % 5 == 0 {
                        held.extend(collections[1].next().expect("a document"));
                        held.extend(collections[2].next().expect("a document"));
                    }
                }
                assert!(collections.iter_mut().all(|hours| hours.next().expect("an end").is_none()));
            }
            assert_eq!(held.len(), 280);
            let held_bytes: usize = held.iter().map(Bytes::len).sum();
            let seen = fixture.source.read_ahead();
            assert!(
                seen.alive_bytes >= held_bytes && seen.alive_bytes <= held_bytes + 280 * FRAME_BYTES,
                "{seen:?}"
            );
            drop(held);
            assert_eq!(fixture.source.read_ahead().alive_bytes, 0);
            fixture
        });
        fixture = held.await.expect("no panic");
    }
    fixture.space.cleanup().await;
}

#[tokio::test]
async fn a_document_as_large_as_they_get_comes_among_small_ones() {
    let space = TestSpace::create().await;
    let mut stored = documents(200, 1 << 10);
    stored[100] = document(100_i64, LARGEST_BYTES - 100);
    for hours in stored.chunks(100) {
        space.insert_hours("001", "soc", hours.to_vec()).await;
    }
    let share_bytes = 4 << 20;
    Fixture::new(space, share_bytes)
        .await
        .blocking(move |fixture| {
            assert_eq!(rest(&mut *fixture.open("soc")), (0..200).collect::<Vec<_>>());
            let seen = fixture.source.read_ahead();
            assert!(
                (LARGEST_BYTES..=share_bytes + LARGEST_BYTES + FRAME_BYTES).contains(&seen.peak_bytes),
                "{seen:?}"
            );
        })
        .await;
}

#[tokio::test]
async fn batches_learn_how_large_documents_are() {
    let space = TestSpace::create().await;
    space.insert_hours("001", "large", documents(40, 1 << 20)).await;
    space.insert_hours("001", "small", documents(1_000, 100)).await;
    let share_bytes = 6 << 20;
    Fixture::new(space, share_bytes)
        .await
        .blocking(move |fixture| {
            // The first batch assumes 80 KiB per document; from then on two documents fit into a
            // third of the share.
            assert_eq!(rest(&mut *fixture.open("large")), (0..40).collect::<Vec<_>>());
            let seen = fixture.source.read_ahead();
            assert!(seen.peak_bytes <= share_bytes + (16 << 20) + FRAME_BYTES, "{seen:?}");
            assert_eq!(rest(&mut *fixture.open("small")), (0..1_000).collect::<Vec<_>>());

            // Small documents are learned, and then a batch has the maximum number of documents.
            let mut hours = fixture.open("small");
            let mut largest = 0;
            for _ in 0..900 {
                hours.next().expect("a document").expect("a document");
                largest = largest.max(fixture.source.read_ahead().alive_bytes);
            }
            assert!(largest > 32 * 100, "{largest}");
        })
        .await;
}
