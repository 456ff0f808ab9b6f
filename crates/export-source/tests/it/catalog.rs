//! The catalog: its lease, its content, and the queries of the API.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_core::access::{AllowedVehicles, VehiclePattern};
use export_core::estimate::Coverage;
use export_core::range::HOUR_MS;
use export_core::{Parameter, TimeRange, VehicleId};
use export_source::{Catalog, CatalogLease, CataloguedParameter, VehicleLook};
use export_testkit::isolation::TestSpace;
use mongodb::Collection;

use crate::connection::client;

const MINUTE: Duration = Duration::from_mins(1);

struct TestCatalog {
    space: TestSpace,
    catalog: Catalog,
    /// The same collection, through a separate client.
    stored: Collection<Document>,
}

impl TestCatalog {
    async fn create() -> Self {
        let space = TestSpace::create().await;
        let mongo = client(&space).await;
        Catalog::new(&mongo, &space.jobs_database).provision().await.expect("indexes");
        let stored = space.mongodb.database(&space.jobs_database).collection("catalog");
        Self { catalog: Catalog::new(&mongo, &space.jobs_database), space, stored }
    }

    async fn keeping(&self) -> CatalogLease {
        self.catalog.take_lease("a worker", MINUTE).await.expect("an answer").expect("ours")
    }

    /// A catalog of these vehicles, which have been examined.
    async fn of(vehicles: &[(&str, &[CataloguedParameter])]) -> Self {
        let catalog = Self::create().await;
        let listed: Vec<VehicleId> = vehicles.iter().map(|(name, _)| vehicle(name)).collect();
        let keeping = catalog.keeping().await;
        catalog.catalog.set_list(&keeping, &listed, MINUTE).await.expect("listed");
        for (name, parameters) in vehicles {
            let look = VehicleLook { parameters: parameters.to_vec(), is_whole: true };
            catalog.catalog.note(&vehicle(name), Some(&look)).await.expect("noted");
        }
        catalog
    }

    async fn names(&self) -> Vec<String> {
        let page = self.catalog.page(&AllowedVehicles::All, None, None, 1_000).await.expect("a page");
        page.vehicles.into_iter().map(|found| found.vehicle.into()).collect()
    }
}

fn measured(figure: &str) {
    #[expect(clippy::print_stderr, reason = "measured figures are part of the test's output")]
    {
        eprintln!("measured: {figure}");
    }
}

fn vehicle(name: &str) -> VehicleId {
    name.parse().expect("a vehicle")
}

fn vehicles(names: &[&str]) -> Vec<VehicleId> {
    names.iter().map(|name| vehicle(name)).collect()
}

fn parameter(name: &str, first_hour: i64, last_hour: i64) -> CataloguedParameter {
    CataloguedParameter {
        parameter: name.parse().expect("a parameter"),
        types: vec!["double".to_owned(), "int".to_owned()],
        first_hour_ms: Some(first_hour * HOUR_MS),
        last_hour_ms: Some(last_hour * HOUR_MS),
    }
}

fn like(patterns: &[&str]) -> AllowedVehicles {
    let pattern = |pattern: &&str| pattern.parse::<VehiclePattern>().expect("a pattern");
    AllowedVehicles::Like(patterns.iter().map(pattern).collect())
}

#[tokio::test]
async fn one_worker_holds_the_lease_until_it_ends() {
    let test = TestCatalog::create().await;
    let catalog = &test.catalog;
    let status = catalog.status().await.expect("an answer");
    assert!(status.listed_at_ms.is_none() && !status.is_trusted, "before the first refresh");

    // Concurrently, before the marker exists.
    let (first, second) =
        tokio::join!(catalog.take_lease("first", MINUTE), catalog.take_lease("second", MINUTE));
    let keepers = [first.expect("an answer").is_some(), second.expect("an answer").is_some()];
    assert_ne!(keepers[0], keepers[1], "one of them");
    let (keeper, other) = if keepers[0] { ("first", "second") } else { ("second", "first") };
    assert!(
        catalog.take_lease(keeper, MINUTE).await.expect("an answer").is_some(),
        "its own lease is renewed"
    );
    assert!(catalog.take_lease(other, MINUTE).await.expect("an answer").is_none());

    catalog.release(other).await.expect("an answer");
    assert!(
        catalog.take_lease(other, MINUTE).await.expect("an answer").is_none(),
        "only its own lease can be released"
    );
    catalog.release(keeper).await.expect("an answer");
    assert!(
        catalog.take_lease(other, Duration::from_millis(200)).await.expect("an answer").is_some(),
        "at once"
    );

    let asked_at = Instant::now();
    while catalog.take_lease(keeper, MINUTE).await.expect("an answer").is_none() {
        assert!(asked_at.elapsed() < Duration::from_secs(20), "a lease ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    test.space.cleanup().await;
}

/// The clock is set back by an hour while a worker that has died holds the lease.
#[tokio::test]
async fn a_lease_far_in_the_future_is_free() {
    let test = TestCatalog::create().await;
    assert!(test.catalog.take_lease("dead", MINUTE).await.expect("an answer").is_some());
    let until = |ms: i64| vec![doc! { "$set": { "leaseUntil": { "$add": ["$$NOW", ms] } } }];
    let marker = doc! { "_id": "/catalog" };
    test.stored.update_one(marker.clone(), until(90_000)).await.expect("changed");
    assert!(
        test.catalog.take_lease("other", MINUTE).await.expect("an answer").is_none(),
        "a small step of the clock frees no lease"
    );
    test.stored.update_one(marker, until(3_600_000)).await.expect("changed");
    assert!(test.catalog.take_lease("other", MINUTE).await.expect("an answer").is_some());
    test.space.cleanup().await;
}

#[tokio::test]
async fn vehicles_come_and_go_with_the_list() {
    let test = TestCatalog::create().await;
    let catalog = &test.catalog;
    let keeping = test.keeping().await;
    let change = catalog.set_list(&keeping, &vehicles(&["v1", "v2"]), MINUTE).await.expect("listed");
    assert_eq!((change.added, change.gone), (vehicles(&["v1", "v2"]), vec![]));
    let status = catalog.status().await.expect("an answer");
    assert!(status.is_trusted && status.listed_at_ms.is_some());

    // Invalid names are removed, too.
    test.stored.insert_one(doc! { "_id": "no vehicle: a b" }).await.expect("stored");
    let keeping = test.keeping().await;
    let change = catalog.set_list(&keeping, &vehicles(&["v2", "v3"]), Duration::ZERO).await.expect("listed");
    assert_eq!((change.added, change.gone), (vehicles(&["v3"]), vehicles(&["v1"])));
    assert_eq!(test.names().await, ["v2", "v3"]);
    let status = catalog.status().await.expect("an answer");
    assert!(!status.is_trusted, "not trusted for longer than requested");

    // A late result of an examination does not restore a removed vehicle.
    catalog.note(&vehicle("v1"), Some(&VehicleLook::default())).await.expect("an answer");
    assert_eq!(test.names().await, ["v2", "v3"]);
    test.space.cleanup().await;
}

/// A worker is suspended after it has listed the vehicles, and resumes after another worker has
/// added some.
#[tokio::test]
async fn a_late_worker_removes_no_vehicle_newer_than_its_list() {
    let test = TestCatalog::create().await;
    let catalog = &test.catalog;
    let late = catalog.take_lease("late", Duration::from_millis(1)).await.expect("an answer").expect("ours");
    // The lease of one millisecond ends, by MongoDB's clock.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let current = test.keeping().await;
    catalog.set_list(&current, &vehicles(&["v1", "v2"]), MINUTE).await.expect("listed");
    catalog.set_list(&late, &vehicles(&["v1"]), Duration::ZERO).await.expect("listed");
    assert_eq!(test.names().await, ["v1", "v2"]);
    assert!(
        catalog.status().await.expect("an answer").is_trusted,
        "nor does it change how long the list is trusted"
    );
    test.space.cleanup().await;
}

#[tokio::test]
async fn new_vehicles_are_looked_at_first_then_the_longest_not_looked_at() {
    let test = TestCatalog::create().await;
    let catalog = &test.catalog;
    let keeping = test.keeping().await;
    catalog.set_list(&keeping, &vehicles(&["v1", "v2", "v3"]), MINUTE).await.expect("listed");
    // A failed examination counts as a turn, too.
    for (name, look) in [("v2", Some(VehicleLook::default())), ("v1", None)] {
        catalog.note(&vehicle(name), look.as_ref()).await.expect("noted");
        // Times are stored in milliseconds by MongoDB's clock, and these two must differ.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let keeping = test.keeping().await;
    let stalest = |age, limit| catalog.stalest(&keeping, age, limit);
    assert_eq!(stalest(Duration::ZERO, 10).await.expect("names"), vehicles(&["v3", "v2", "v1"]));
    assert_eq!(stalest(Duration::ZERO, 2).await.expect("names"), vehicles(&["v3", "v2"]));
    assert_eq!(stalest(MINUTE, 10).await.expect("names"), vehicles(&["v3"]), "the others were looked at");
    let page = catalog.page(&AllowedVehicles::All, None, None, 10).await.expect("a page");
    let refreshed: Vec<bool> = page.vehicles.iter().map(|found| found.refreshed_at_ms.is_some()).collect();
    assert_eq!(refreshed, [false, true, false]);
    test.space.cleanup().await;
}

#[tokio::test]
async fn a_fleet_of_thousands_is_listed_in_a_few_commands() {
    let test = TestCatalog::create().await;
    let names: Vec<VehicleId> = (0..7_000).map(|number| vehicle(&format!("vehicle_{number:05}"))).collect();
    let keeping = test.keeping().await;
    let began_at = Instant::now();
    let change = test.catalog.set_list(&keeping, &names, MINUTE).await.expect("listed");
    measured(&format!("7,000 new vehicles: {:?}", began_at.elapsed()));
    assert_eq!(change.added.len(), 7_000);
    let began_at = Instant::now();
    let keeping = test.keeping().await;
    let change = test.catalog.set_list(&keeping, &names[..6_999], MINUTE).await.expect("listed");
    measured(&format!("7,000 known vehicles, one gone: {:?}", began_at.elapsed()));
    assert_eq!((change.added.len(), change.gone.len()), (0, 1));
    assert_eq!(test.catalog.stalest(&keeping, MINUTE, 64).await.expect("names").len(), 64);
    // Every vehicle once, over all pages.
    let (mut seen, mut after) = (BTreeSet::new(), None);
    loop {
        let page =
            test.catalog.page(&AllowedVehicles::All, None, after.as_ref(), 1_000).await.expect("a page");
        seen.extend(page.vehicles.iter().map(|found| found.vehicle.clone()));
        after = page.vehicles.last().map(|found| found.vehicle.clone());
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen.len(), 6_999);
    test.space.cleanup().await;
}

#[tokio::test]
async fn pages_have_what_is_allowed_and_searched_for() {
    let soc = [parameter("soc", 1, 2)];
    let test = TestCatalog::of(&[
        ("bus_1", &soc),
        ("Bus_2", &soc),
        ("car(1)", &soc),
        ("car+1", &[]),
        ("ток_1", &[]),
    ])
    .await;
    let found = async |allowed: &AllowedVehicles, search: Option<&str>| {
        let page = test.catalog.page(allowed, search, None, 10).await.expect("a page");
        page.vehicles.into_iter().map(|found| found.vehicle.to_string()).collect::<Vec<_>>()
    };
    let all = AllowedVehicles::All;
    // Names are ordered by their bytes.
    assert_eq!(found(&all, None).await, ["Bus_2", "bus_1", "car(1)", "car+1", "ток_1"]);
    assert_eq!(found(&all, Some("BUS")).await, ["Bus_2", "bus_1"]);
    assert_eq!(found(&all, Some("(1)")).await, ["car(1)"], "no expression");
    assert_eq!(found(&all, Some(".")).await, Vec::<String>::new());
    assert_eq!(found(&all, Some("ТОК")).await, ["ток_1"]);
    assert_eq!(found(&like(&["bus_*"]), None).await, ["bus_1"], "patterns are case-sensitive");
    assert_eq!(found(&like(&["car(1)", "*_1"]), None).await, ["bus_1", "car(1)", "ток_1"]);
    assert_eq!(found(&like(&["b*s*1*"]), Some("us")).await, ["bus_1"]);
    assert_eq!(found(&like(&["*u*u*"]), None).await, Vec::<String>::new());
    assert_eq!(found(&like(&[]), None).await, Vec::<String>::new());
    // All fields of a vehicle, and the end of the page.
    let page = test.catalog.page(&all, None, Some(&vehicle("Bus_2")), 1).await.expect("a page");
    assert!(page.has_more);
    let [bus] = page.vehicles.as_slice() else { panic!("{page:?}") };
    assert_eq!((bus.vehicle.as_str(), bus.parameters.as_slice()), ("bus_1", &soc[..]));
    assert_eq!((bus.first_hour_ms, bus.last_hour_ms), (Some(HOUR_MS), Some(2 * HOUR_MS)));
    test.space.cleanup().await;
}

/// A pattern that would take a backtracking regular expression exponential time.
#[tokio::test]
async fn patterns_of_many_stars_cost_nothing() {
    let long = "a".repeat(63);
    let test = TestCatalog::of(&[(&long, &[])]).await;
    let pattern = "a*".repeat(30) + "b";
    let began_at = Instant::now();
    let page = test.catalog.page(&like(&[&pattern]), None, None, 10).await.expect("a page");
    assert_eq!(page.vehicles, []);
    assert!(began_at.elapsed() < Duration::from_secs(5), "{:?}", began_at.elapsed());
    test.space.cleanup().await;
}

#[tokio::test]
async fn names_are_looked_up_among_the_allowed() {
    let test = TestCatalog::of(&[
        ("bus_1", &[parameter("soc", 1, 2)]),
        ("bus_2", &[parameter("odo", 1, 2), parameter("we.ird", 1, 2)]),
        ("car_1", &[parameter("gps", 1, 2)]),
    ])
    .await;
    let catalog = &test.catalog;
    let asked = vehicles(&["car_1", "bus_1", "bus_9"]);
    let known = async |allowed: &AllowedVehicles| catalog.known(allowed, &asked).await.expect("names");
    assert_eq!(known(&AllowedVehicles::All).await, vehicles(&["bus_1", "car_1"]).into_iter().collect());
    assert_eq!(known(&like(&["bus*"])).await, vehicles(&["bus_1"]).into_iter().collect());
    let near = catalog.neighbours(&like(&["bus*"]), &vehicle("bus_9"), 1).await.expect("names");
    assert_eq!(near, vehicles(&["bus_2"]).into_iter().collect(), "not the car");

    let parameters = async |allowed: &AllowedVehicles, chosen: Option<&[VehicleId]>| {
        let known = catalog.known_parameters(allowed, chosen).await.expect("names");
        (known.names.into_iter().map(String::from).collect::<Vec<_>>(), known.are_all)
    };
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let all = AllowedVehicles::All;
    assert_eq!(parameters(&all, None).await, (texts(&["gps", "odo", "soc", "we.ird"]), true));
    assert_eq!(parameters(&like(&["bus*"]), None).await, (texts(&["odo", "soc", "we.ird"]), true));
    assert_eq!(parameters(&like(&["bus*"]), Some(&asked)).await, (texts(&["soc"]), true));
    // A vehicle that was never examined, or long ago, may have more parameters.
    for change in [doc! { "refreshedAt": null }, doc! { "isWhole": false }] {
        test.stored.update_one(doc! { "_id": "bus_2" }, doc! { "$set": change }).await.expect("changed");
        assert!(!parameters(&all, None).await.1 && !parameters(&like(&["bus*"]), None).await.1);
        assert!(parameters(&all, Some(&asked)).await.1, "others are as they were");
        let look = VehicleLook { parameters: vec![parameter("odo", 1, 2)], is_whole: true };
        catalog.note(&vehicle("bus_2"), Some(&look)).await.expect("noted");
        assert!(parameters(&all, None).await.1);
    }
    test.space.cleanup().await;
}

#[tokio::test]
async fn coverage_is_what_lies_in_the_range() {
    let test = TestCatalog::of(&[
        ("bus_1", &[parameter("soc", 0, 9), parameter("odo", 5, 9)]),
        ("bus_2", &[parameter("soc", 100, 101)]),
        (
            "car_1",
            &[CataloguedParameter { first_hour_ms: None, last_hour_ms: None, ..parameter("soc", 0, 0) }],
        ),
    ])
    .await;
    let soc: [Parameter; 1] = ["soc".parse().expect("a parameter")];
    let range = |from: i64, to: i64| TimeRange::new(from * HOUR_MS, to * HOUR_MS).expect("a range");
    let coverage = async |allowed: &AllowedVehicles, chosen: Option<&[Parameter]>, range| {
        let found = test.catalog.coverage(allowed, None, chosen, range).await.expect("sums");
        let Coverage { vehicles, parameter_hours, vehicle_hours } = found;
        (vehicles, parameter_hours, vehicle_hours)
    };
    let all = AllowedVehicles::All;
    assert_eq!(coverage(&all, None, range(-50, 500)).await, (3, 10 + 5 + 2, 10 + 2));
    assert_eq!(coverage(&all, Some(&soc), range(8, 101)).await, (3, 2 + 1, 2 + 1));
    assert_eq!(coverage(&like(&["bus_1"]), None, range(4, 6)).await, (1, 2 + 1, 2));
    assert_eq!(coverage(&all, None, range(10, 100)).await, (3, 0, 0), "no data at all");
    assert_eq!(coverage(&like(&[]), None, range(0, 100)).await, (0, 0, 0));
    let one = test.catalog.coverage(&all, Some(&vehicles(&["bus_2", "unknown"])), None, range(0, 500)).await;
    assert_eq!(one.expect("sums").parameter_hours, 2);
    test.space.cleanup().await;
}
