//! The vehicles' databases as the engine's source.

use std::sync::Arc;

use bson::{Bson, Document, RawDocumentBuf, doc};
use export_core::source::{Source, VehicleCollections};
use export_core::{Parameter, TimeRange, VehicleId};
use export_source::{MongoSource, VehicleDatabases};
use export_testkit::hour::{HourBuilder, IdType};
use export_testkit::isolation::TestSpace;
use futures_util::TryStreamExt;
use mongodb::options::TimeseriesOptions;
use tokio::runtime::Handle;

use crate::connection::client;

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_543_536_000_000;

/// Bytes for reading ahead in tests that do not depend on them.
const SHARE_BYTES: usize = 1 << 20;

async fn databases(space: &TestSpace) -> VehicleDatabases {
    VehicleDatabases::new(&client(space).await, &space.vehicle_prefix)
}

async fn source(space: &TestSpace) -> Arc<MongoSource> {
    Arc::new(MongoSource::new(databases(space).await, Handle::current(), SHARE_BYTES))
}

fn vehicle(space: &TestSpace, suffix: &str) -> VehicleId {
    space.vehicle(suffix).parse().expect("a vehicle")
}

fn parameter(name: &str) -> Parameter {
    name.parse().expect("a parameter")
}

/// Runs a blocking function on its own thread, like the engine.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// All documents of one collection of vehicle 001.
async fn read(space: &TestSpace, parameter_name: &str, range: TimeRange) -> Vec<Document> {
    let (source, vehicle, parameter) =
        (source(space).await, vehicle(space, "001"), parameter(parameter_name));
    blocking(move || {
        let mut hours = source.open(&vehicle, &parameter, range).expect("opened");
        let mut documents = Vec::new();
        while let Some(bytes) = hours.next().expect("a document") {
            documents.push(Document::from_reader(&bytes[..]).expect("BSON"));
        }
        assert!(hours.next().expect("nothing").is_none(), "the end is the end");
        documents
    })
    .await
}

#[tokio::test]
async fn vehicles_are_the_databases_with_the_prefix() {
    let space = TestSpace::create().await;
    let databases = databases(&space).await;
    assert_eq!(databases.vehicles().await.expect("names"), []);
    for suffix in ["010", "002"] {
        space.insert_hours(suffix, "soc", Vec::new()).await;
    }
    // Names with the prefix inside, or with another character instead of `_`, do not match.
    let others = [format!("x{}001", space.vehicle_prefix), space.vehicle_prefix.replace('_', "-") + "001"];
    for other in &others {
        space.mongodb.database(other).create_collection("soc").await.expect("a collection");
    }
    assert_eq!(databases.vehicles().await.expect("names"), [vehicle(&space, "002"), vehicle(&space, "010")]);
    space.insert_hours("001", "soc", Vec::new()).await;
    assert_eq!(databases.vehicles().await.expect("names").len(), 3, "new vehicles are seen at once");
    for other in &others {
        space.mongodb.database(other).drop().await.expect("dropped");
    }
    space.cleanup().await;
}

#[tokio::test]
async fn parameters_are_real_collections_only() {
    let space = TestSpace::create().await;
    let names = ["a,b", "analyses.estimated_range", "say \"hi\"", "soc", "two\nlines", "x/..", "ток"];
    for name in names {
        let hour = HourBuilder::new(START_MS).point(START_MS, name).build();
        space.insert_hours("001", name, vec![hour]).await;
    }
    let database = space.mongodb.database(&space.vehicle("001"));
    // The first view creates the collection `system.views`, the time series a `system.buckets.…`.
    database.create_collection("view").view_on("soc".to_owned()).await.expect("a view");
    let time_series = TimeseriesOptions::builder().time_field("at").build();
    database.create_collection("series").timeseries(time_series).await.expect("a time series");
    assert!(database.list_collection_names().await.expect("names").len() >= 7);

    let databases = databases(&space).await;
    let found = databases.collections(&vehicle(&space, "001")).await.expect("names");
    assert_eq!(found.parameters, names.map(parameter));
    for name in names {
        let hours = read(&space, name, TimeRange::new(START_MS, START_MS + 1).expect("a range")).await;
        assert_eq!(hours, [HourBuilder::new(START_MS).point(START_MS, name).build()], "{name:?}");
    }
    let missing = databases.collections(&vehicle(&space, "404")).await.expect("names");
    assert_eq!(missing, VehicleCollections::default());
    // The parameters of many vehicles, in their order, as the engine reads them.
    let (source, vehicles) =
        (source(&space).await, ["404", "001", "405"].map(|suffix| vehicle(&space, suffix)));
    let listed = blocking(move || source.parameters(&vehicles).expect("names")).await;
    assert_eq!(listed.iter().map(Vec::len).collect::<Vec<_>>(), [0, names.len(), 0]);
    space.cleanup().await;
}

#[tokio::test]
async fn hours_come_in_numeric_order_whatever_the_type_of_their_id() {
    let space = TestSpace::create().await;
    let id_types = [IdType::Double, IdType::Int32, IdType::Int64];
    let mut hours: Vec<Document> = (-30..40)
        .zip(id_types.into_iter().cycle())
        .map(|(hour, id_type)| {
            HourBuilder::new(hour * HOUR_MS).id_type(id_type).point(hour * HOUR_MS, 1).build()
        })
        .collect();
    // Inserted in a different order than by `_id`.
    let (front, back) = hours.split_at_mut(35);
    front.swap_with_slice(back);
    let text_id = doc! { "_id": "0", "values": {} };
    space.insert_hours("001", "soc", [hours.clone(), vec![text_id]].concat()).await;

    let range = TimeRange::new(-30 * HOUR_MS, 40 * HOUR_MS).expect("a range");
    let found = read(&space, "soc", range).await;
    let number = |document: &Document| match document.get("_id") {
        #[expect(clippy::cast_possible_truncation, reason = "the test stores whole hours")]
        Some(Bson::Double(id)) => *id as i64,
        Some(Bson::Int32(id)) => i64::from(*id),
        Some(Bson::Int64(id)) => *id,
        other => panic!("not asked for: {other:?}"),
    };
    let expected: Vec<i64> = (-30..40).map(|hour| hour * HOUR_MS).collect();
    assert_eq!(found.iter().map(number).collect::<Vec<_>>(), expected);
    hours.sort_by_key(number);
    assert_eq!(found, hours, "documents come as they are stored");
    space.cleanup().await;
}

#[tokio::test]
async fn the_range_of_ids_is_half_open() {
    let space = TestSpace::create().await;
    let hour = |ms: i64| HourBuilder::new(ms).point(ms, 1).build();
    let stored = [-1, 0, 1, HOUR_MS - 1, HOUR_MS, HOUR_MS + 1].map(|offset_ms| hour(START_MS + offset_ms));
    space.insert_hours("001", "soc", stored.to_vec()).await;
    let range = TimeRange::new(START_MS, START_MS + HOUR_MS).expect("a range");
    assert_eq!(read(&space, "soc", range).await, stored[1..4]);
    assert_eq!(read(&space, "nowhere", range).await, Vec::<Document>::new());
    space.cleanup().await;
}

#[tokio::test]
async fn demo_hours_never_change_what_is_there() {
    let space = TestSpace::create().await;
    let client = client(&space).await;
    let raw = |hour: i64, value: i32| {
        let hour_ms = START_MS + hour * HOUR_MS;
        RawDocumentBuf::try_from(HourBuilder::new(hour_ms).point(hour_ms, value).build()).expect("BSON")
    };
    let ours = Document::try_from(&raw(1, 1)).expect("BSON");
    space.insert_hours("001", "soc", vec![ours.clone()]).await;
    let database = space.vehicle("001");
    for _ in 0..2 {
        export_source::add_missing_hours(&client, &database, "soc", vec![raw(0, 2), raw(1, 2), raw(2, 2)])
            .await
            .expect("added");
    }
    let collection = space.mongodb.database(&database).collection::<Document>("soc");
    let found: Vec<Document> = collection
        .find(doc! {})
        .sort(doc! { "_id": 1 })
        .await
        .expect("found")
        .try_collect()
        .await
        .expect("found");
    assert_eq!(found.len(), 3);
    assert_eq!(found[1], ours);

    let too_big = RawDocumentBuf::try_from(doc! { "_id": 1, "text": "x".repeat(17 << 20) }).expect("BSON");
    assert!(
        export_source::add_missing_hours(&client, &database, "soc", vec![too_big]).await.is_err(),
        "other failures are reported"
    );
    space.cleanup().await;
}
