//! Measuring vehicles on a real MongoDB, and what the catalog expects of them.

use std::time::Duration;

use bson::{Document, doc};
use export_core::access::AllowedVehicles;
use export_core::estimate::{Coverage, MeasuredAmount, estimate};
use export_core::output::OutputOptions;
use export_core::range::HOUR_MS;
use export_core::{Parameter, TimeRange, VehicleId};
use export_source::{Catalog, VehicleDatabases};
use export_testkit::hour::{HourBuilder, IdType};
use export_testkit::isolation::TestSpace;

use crate::connection::client;

const START_MS: i64 = 1_543_536_000_000;
const POINTS_PER_HOUR: i64 = 300;

fn range() -> TimeRange {
    TimeRange::new(START_MS, START_MS + 48 * HOUR_MS).expect("a range")
}

/// Two days of hours, every second one without a document. Points are `offset_ms` after each tenth
/// second.
fn hours(offset_ms: i64) -> Vec<bson::Document> {
    let hour = |index: i64| {
        let hour_ms = START_MS + index * HOUR_MS;
        let id_type = if index % 4 == 0 { IdType::Int64 } else { IdType::Double };
        let points = (0..POINTS_PER_HOUR).map(|point| (hour_ms + point * 10_000 + offset_ms, 1.5));
        HourBuilder::new(hour_ms).id_type(id_type).points(points).build()
    };
    (0..48).step_by(2).map(hour).collect()
}

#[tokio::test]
async fn a13_a_measured_vehicle_gives_its_rows_for_any_parameters() {
    let space = TestSpace::create().await;
    // The last two log at the same times.
    for (parameter, offset_ms) in [("soc", 0), ("speed", 5_000), ("odo", 5_000)] {
        space.insert_hours("001", parameter, hours(offset_ms)).await;
    }
    let mongo = client(&space).await;
    let databases = VehicleDatabases::new(&mongo, &space.vehicle_prefix);
    let catalog = Catalog::new(&mongo, &space.jobs_database);
    catalog.provision().await.expect("indexes");
    let vehicle: VehicleId = space.vehicle("001").parse().expect("a vehicle");
    let minute = Duration::from_mins(1);
    let lease = catalog.take_lease("a worker", minute).await.expect("an answer").expect("ours");
    catalog.set_list(&lease, std::slice::from_ref(&vehicle), minute).await.expect("listed");

    let turn = || std::future::ready(());
    let look = databases.look(&vehicle, turn).await.expect("a look");
    assert!(catalog.should_measure(&vehicle, &look).await.expect("an answer"), "it is new");
    let density = databases.measure(&vehicle, &look, turn).await.expect("measured");
    catalog.note_density(&vehicle, &look, density.as_ref()).await.expect("noted");
    catalog.note(&vehicle, Some(&look)).await.expect("noted");
    assert!(!catalog.should_measure(&vehicle, &look).await.expect("an answer"), "nothing has changed");
    let mut grown = look.clone();
    grown.parameters[0].last_hour_ms = Some(START_MS + 80 * HOUR_MS);
    assert!(catalog.should_measure(&vehicle, &grown).await.expect("an answer"), "it has grown");

    let output = OutputOptions::default();
    for (names, rows_per_hour) in [
        (vec!["soc", "speed", "odo"], 2 * POINTS_PER_HOUR),
        (vec!["speed", "odo"], POINTS_PER_HOUR),
        (vec!["odo"], POINTS_PER_HOUR),
    ] {
        let names: Vec<Parameter> = names.iter().map(|name| name.parse().expect("a parameter")).collect();
        let all = AllowedVehicles::All;
        let measured = catalog.measured(&all, None, Some(&names), range(), &output).await.expect("an answer");
        let coverage = catalog.coverage(&all, None, Some(&names), range()).await.expect("an answer");
        let found = estimate(&coverage, &measured, range(), &output, &[]);
        let rows = u64::try_from(rows_per_hour * 24).expect("a count");
        assert!((found.rows.low..=found.rows.high).contains(&rows), "{names:?}: {rows} rows, {found:?}");
        assert!(found.rows.low * 4 >= rows * 3 && found.rows.high * 4 <= rows * 5, "{rows} rows, {found:?}");
        assert!(found.measured_share > 0.999, "{found:?}");
    }
    let none = AllowedVehicles::Like(Vec::new());
    let measured = catalog.measured(&none, None, None, range(), &output).await.expect("an answer");
    assert_eq!(measured, MeasuredAmount::default(), "only vehicles that are allowed");
    let nothing = estimate(&Coverage::default(), &measured, range(), &output, &[]);
    assert_eq!((nothing.rows.low, nothing.rows.high), (0, 0));
    space.cleanup().await;
}

/// The catalog's worker reads hours beside its exports, outside their memory budget.
#[tokio::test]
async fn c6_an_hour_with_very_many_points_is_listed_and_not_measured() {
    let space = TestSpace::create().await;
    for (vehicle, points, has_types) in [("many", 300_000, false), ("fewer", 20_000, true)] {
        let values: Document = (0..points).map(|key| ((3_599_999 - key).to_string(), 1.into())).collect();
        let hour = doc! { "_id": START_MS, "values": values };
        space.insert_hours(vehicle, "soc", vec![hour]).await;
        let databases = VehicleDatabases::new(&client(&space).await, &space.vehicle_prefix);
        let vehicle: VehicleId = space.vehicle(vehicle).parse().expect("a vehicle");
        let turn = || std::future::ready(());
        let look = databases.look(&vehicle, turn).await.expect("a look");
        assert_eq!(look.parameters[0].last_hour_ms, Some(START_MS));
        assert_eq!(look.parameters[0].types.is_empty(), !has_types, "{look:?}");
        let density = databases.measure(&vehicle, &look, turn).await.expect("an answer");
        assert_eq!(density.is_some(), has_types);
    }
    space.cleanup().await;
}
