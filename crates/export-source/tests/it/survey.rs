//! The catalog's queries of the vehicles' databases, on databases with odd content.

use std::cell::Cell;

use bson::{Bson, Document, doc};
use export_core::range::HOUR_MS;
use export_core::source::UnreadReason;
use export_core::{Parameter, VehicleId};
use export_source::{CataloguedParameter, VehicleDatabases};
use export_testkit::hour::{HourBuilder, IdType};
use export_testkit::isolation::TestSpace;
use mongodb::options::TimeseriesOptions;

use crate::connection::client;

const START_MS: i64 = 1_543_536_000_000;

async fn databases(space: &TestSpace) -> VehicleDatabases {
    VehicleDatabases::new(&client(space).await, &space.vehicle_prefix)
}

fn hour(index: i64) -> HourBuilder {
    let hour_ms = START_MS + index * HOUR_MS;
    HourBuilder::new(hour_ms).point(hour_ms + 1, 1.5)
}

/// The result of examining one vehicle, and the number of queries.
async fn look(space: &TestSpace, suffix: &str) -> (Vec<CataloguedParameter>, u32) {
    let vehicle: VehicleId = space.vehicle(suffix).parse().expect("a vehicle");
    let questions = Cell::new(0);
    let turn = || {
        questions.set(questions.get() + 1);
        std::future::ready(())
    };
    let look = databases(space).await.look(&vehicle, turn).await.expect("a look");
    assert!(look.is_whole);
    (look.parameters, questions.get())
}

fn summary(found: &[CataloguedParameter]) -> Vec<(&str, Option<i64>, Option<i64>, String)> {
    let hours = |ms: Option<i64>| ms.map(|ms| (ms - START_MS) / HOUR_MS);
    let rows = found.iter().map(|found| {
        (
            found.parameter.as_str(),
            hours(found.first_hour_ms),
            hours(found.last_hour_ms),
            found.types.join(" "),
        )
    });
    rows.collect()
}

#[tokio::test]
async fn the_list_leaves_out_what_can_be_no_vehicle() {
    let space = TestSpace::create().await;
    for suffix in ["002", "001"] {
        space.insert_hours(suffix, "soc", Vec::new()).await;
    }
    let survey = databases(&space).await.survey().await.expect("a list");
    let names: Vec<&str> = survey.vehicles.iter().map(VehicleId::as_str).collect();
    assert_eq!(names, [space.vehicle("001"), space.vehicle("002")]);
    assert_eq!(survey.left_out, 0);
    space.cleanup().await;
}

#[tokio::test]
async fn ends_are_found_whatever_the_ids_are() {
    let space = TestSpace::create().await;
    let stored = |index: i64, id_type| hour(index).id_type(id_type).build();
    let odd_ids = [
        Bson::from("1543536000000"),
        Bson::ObjectId(bson::oid::ObjectId::new()),
        Bson::Double(f64::NAN),
        Bson::Double(f64::INFINITY),
        Bson::Double(-1e300),
        Bson::Boolean(true),
        Bson::DateTime(bson::DateTime::from_millis(0)),
        Bson::MinKey,
        Bson::MaxKey,
        Bson::Document(doc! { "a": 1 }),
    ];
    let odd: Vec<Document> = odd_ids.into_iter().map(|id| doc! { "_id": id, "values": { "0": 1 } }).collect();
    space.insert_hours("001", "only_odd", odd.clone()).await;
    let hours = vec![stored(7, IdType::Double), stored(2, IdType::Int64), stored(4, IdType::Double)];
    space.insert_hours("001", "soc", [hours, odd].concat()).await;
    let decimal: bson::Decimal128 = START_MS.to_string().parse().expect("a decimal");
    space.insert_hours("001", "decimal", vec![doc! { "_id": decimal, "values": {} }]).await;
    space.insert_hours("001", "fraction", vec![doc! { "_id": 1_543_536_000_000.75 }]).await;
    space.insert_hours("001", "empty", Vec::new()).await;

    let (found, questions) = look(&space, "001").await;
    let nothing = String::new;
    assert_eq!(
        summary(&found),
        [
            ("decimal", Some(0), Some(0), nothing()),
            ("empty", None, None, nothing()),
            ("fraction", Some(0), Some(0), nothing()),
            ("only_odd", None, None, nothing()),
            ("soc", Some(2), Some(7), "double".to_owned()),
        ]
    );
    // One query for the collections, one for the end of each, and one for the start of each that
    // has hours.
    assert_eq!(questions, 1 + 5 + 3);
    space.cleanup().await;
}

#[tokio::test]
async fn types_are_those_of_a_few_values_of_the_last_hour() {
    let space = TestSpace::create().await;
    let decimal: bson::Decimal128 = "1.5".parse().expect("a decimal");
    let values = [
        ("d", vec![Bson::Double(1.5), Bson::Int32(3), Bson::Int64(4), Bson::Null]),
        ("s", vec![Bson::from("a|b"), Bson::Boolean(true), Bson::Decimal128(decimal)]),
    ];
    for (parameter, values) in values {
        let points = (0..).zip(values).map(|(index, value)| (START_MS + HOUR_MS + index, value));
        let last = HourBuilder::new(START_MS + HOUR_MS).points(points).build();
        space.insert_hours("001", parameter, vec![hour(0).build(), last]).await;
    }
    // Documents that are no hour documents, in forms that could make the server's expressions fail.
    for (parameter, last) in [
        ("x_array", doc! { "_id": START_MS, "values": [1, 2] }),
        ("x_arrays", doc! { "_id": START_MS, "values": [{ "values": [1.5, "text"] }] }),
        ("x_dollar", doc! { "_id": START_MS, "values": { "$a.b": 1, "values": { "values": 3 } } }),
        ("x_flat", doc! { "_id": START_MS, "values": { "0": 1, "1": "text" } }),
        ("x_hollow", doc! { "_id": START_MS, "values": { "0": { "values": { "0": { "values": {} } } } } }),
        ("x_missing", doc! { "_id": START_MS }),
        ("x_text", doc! { "_id": START_MS, "values": "text" }),
    ] {
        space.insert_hours("001", parameter, vec![last]).await;
    }
    let database = space.mongodb.database(&space.vehicle("001"));
    database.create_collection("view").view_on("d".to_owned()).await.expect("a view");
    let time_series = TimeseriesOptions::builder().time_field("at").build();
    database.create_collection("series").timeseries(time_series).await.expect("a time series");

    let (found, _) = look(&space, "001").await;
    let types: Vec<(&str, &str)> = found.iter().map(|found| found.parameter.as_str()).zip(TYPES).collect();
    let seen: Vec<(String, String)> =
        found.iter().map(|found| (found.parameter.to_string(), found.types.join(" "))).collect();
    let expected: Vec<(String, String)> =
        types.into_iter().map(|(name, types)| (name.to_owned(), types.to_owned())).collect();
    assert_eq!(seen, expected);
    assert_eq!(found.len(), TYPES.len(), "views and MongoDB's own are none");
    space.cleanup().await;
}

#[tokio::test]
async fn a6_views_time_series_and_collections_of_mongodb_are_unread() {
    let space = TestSpace::create().await;
    space.insert_hours("001", "soc", vec![hour(0).build()]).await;
    let database = space.mongodb.database(&space.vehicle("001"));
    database.create_collection("view").view_on("soc".to_owned()).await.expect("a view");
    let time_series = TimeseriesOptions::builder().time_field("at").build();
    database.create_collection("series").timeseries(time_series).await.expect("a time series");
    database.create_collection("system.js").await.expect("a collection");

    let vehicle: VehicleId = space.vehicle("001").parse().expect("a vehicle");
    let found = databases(&space).await.collections(&vehicle).await.expect("collections");
    let parameters: Vec<&str> = found.parameters.iter().map(Parameter::as_str).collect();
    assert_eq!(parameters, ["soc"]);
    let unread: Vec<(&str, UnreadReason)> =
        found.unread.iter().map(|unread| (unread.name.as_str(), unread.reason)).collect();
    assert_eq!(
        unread,
        [
            ("series", UnreadReason::TimeSeries),
            ("system.js", UnreadReason::System),
            ("view", UnreadReason::View),
        ]
    );
    space.cleanup().await;
}

#[tokio::test]
async fn a6_documents_whose_id_is_no_number_are_found_in_one_query() {
    let space = TestSpace::create().await;
    let other_ids = [
        Bson::from("1543536000000"),
        Bson::ObjectId(bson::oid::ObjectId::new()),
        Bson::Boolean(true),
        Bson::DateTime(bson::DateTime::from_millis(START_MS)),
        Bson::Null,
        Bson::MinKey,
        Bson::Document(doc! { "a": 1 }),
    ];
    let mut expected = Vec::new();
    for (index, id) in other_ids.into_iter().enumerate() {
        let other = doc! { "_id": id, "values": { "0": 1 } };
        let hours = if index % 2 == 0 { vec![hour(0).build(), hour(1).build()] } else { Vec::new() };
        let name = format!("other_{index}");
        space
            .insert_hours(
                "001",
                &name,
                [hours, vec![other.clone(), doc! { "_id": format!("{index}") }]].concat(),
            )
            .await;
        expected.push(name);
    }
    let numbers = [Bson::Int32(1), Bson::Double(0.5), Bson::Double(-1e300), Bson::Int64(i64::MAX)];
    let numbers = numbers.map(|id| doc! { "_id": id }).to_vec();
    space.insert_hours("001", "numbers", numbers).await;
    for index in 0..60 {
        space.insert_hours("001", &format!("soc_{index:02}"), vec![hour(0).build()]).await;
    }
    let vehicle: VehicleId = space.vehicle("001").parse().expect("a vehicle");
    let found = databases(&space).await.collections(&vehicle).await.expect("collections");
    assert_eq!(found.parameters.len(), 7 + 1 + 60);
    assert!(found.unread.iter().all(|unread| unread.reason == UnreadReason::OtherIds), "{found:?}");
    let names: Vec<&str> = found.unread.iter().map(|unread| unread.name.as_str()).collect();
    assert_eq!(names, expected);
    space.cleanup().await;
}

/// The query reads one key of the index, not the documents.
#[tokio::test]
async fn a6_numbers_are_one_stretch_of_the_index() {
    let space = TestSpace::create().await;
    space.insert_hours("001", "soc", (0..500).map(|index| hour(index).build()).collect()).await;
    let filter = doc! { "_id": { "$not": { "$gte": f64::NEG_INFINITY } } };
    let find = doc! { "find": "soc", "filter": filter, "limit": 1 };
    let command = doc! { "explain": find, "verbosity": "executionStats" };
    let database = space.mongodb.database(&space.vehicle("001"));
    let explained = database.run_command(command).await.expect("an answer");
    let stats = explained.get_document("executionStats").expect("statistics");
    let keys = stats.get("totalKeysExamined").and_then(Bson::as_i32).expect("a number");
    assert!(keys <= 2 && stats.get("totalDocsExamined") == Some(&Bson::Int32(0)), "{stats}");
    space.cleanup().await;
}

/// By name: d, s, and the collections without hour documents.
const TYPES: [&str; 9] = [
    "double int long null",
    "bool decimal string",
    "int",
    "double string",
    "int object",
    "int string",
    "",
    "",
    "",
];

#[tokio::test]
async fn a_vehicle_that_is_gone_has_nothing() {
    let space = TestSpace::create().await;
    assert_eq!(look(&space, "404").await, (Vec::new(), 1));
    space.cleanup().await;
}
