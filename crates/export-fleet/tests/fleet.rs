//! Densities, layout and determinism of the synthetic fleet.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document};
use export_fleet::{FleetSpec, HOUR_MS, PARAMETERS};

const FIRST_HOUR_MS: i64 = 1_543_536_000_000; // 2018-11-30T00:00:00Z

fn spec(oddities: bool) -> FleetSpec {
    FleetSpec {
        seed: 7,
        vehicles: 4,
        first_hour_ms: FIRST_HOUR_MS,
        hours: 24,
        vehicle_prefix: "vehicle_".to_owned(),
        oddities,
        rhythm: export_fleet::Rhythm::Paired,
    }
}

/// Time and value of every point of a document with numeric keys.
fn points(document: &Document) -> Vec<(i64, Bson)> {
    fn walk(level: &Document, base: i64, into: &mut Vec<(i64, Bson)>) {
        for (key, child) in level {
            let time = base + key.parse::<i64>().expect("a numeric key");
            match child.as_document().and_then(|child| child.get_document("values").ok()) {
                Some(values) => walk(values, time, into),
                None => into.push((time, child.clone())),
            }
        }
    }
    let mut into = Vec::new();
    walk(document.get_document("values").expect("values"), document.get_i64("_id").expect("_id"), &mut into);
    into
}

#[test]
fn a_vehicle_day_has_the_densities_of_real_data() {
    let vehicle = spec(false).vehicle(0);
    let mut filled_per_time: BTreeMap<i64, u32> = BTreeMap::new();
    let mut point_count = 0;
    let mut largest_column = 0;
    let mut largest_bytes = 0;
    for hour in vehicle.hours() {
        for part in &hour.documents {
            largest_bytes = largest_bytes.max(part.document.as_bytes().len());
            let points = points(&Document::try_from(&part.document).expect("valid BSON"));
            largest_column = largest_column.max(points.len());
            point_count += points.len();
            for (time, _) in points {
                assert!((hour.start_ms..hour.start_ms + HOUR_MS).contains(&time));
                *filled_per_time.entry(time).or_default() += 1;
            }
        }
    }
    let row_count = filled_per_time.len();
    let paired = filled_per_time.values().filter(|filled| **filled >= 2).count();
    let times: Vec<i64> = filled_per_time.into_keys().collect();
    let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();

    assert!((170_000..190_000).contains(&row_count), "{row_count} rows");
    assert!((300_000..322_000).contains(&point_count), "{point_count} points");
    assert!((715..745).contains(&(paired * 1000 / row_count)), "{paired} of {row_count} rows have two cells");
    assert!((280..320).contains(&gaps[gaps.len() / 2]), "median gap {} ms", gaps[gaps.len() / 2]);
    let widest = *gaps.last().expect("gaps");
    assert!((4 * HOUR_MS..5 * HOUR_MS).contains(&widest), "widest gap {widest} ms");
    assert!((4_500..=4_932).contains(&largest_column), "{largest_column} points in one hour");
    assert!((60_000..90_000).contains(&largest_bytes), "{largest_bytes} bytes in one document");
}

#[test]
fn values_have_zeros_negatives_decimals_and_an_odometer_that_grows() {
    let mut by_parameter: BTreeMap<&str, Vec<(i64, Bson)>> = BTreeMap::new();
    for hour in spec(false).vehicle(1).hours() {
        for part in hour.documents {
            let points = points(&Document::try_from(&part.document).expect("valid BSON"));
            by_parameter.entry(part.parameter).or_default().extend(points);
        }
    }
    let number = |value: &Bson| match value {
        Bson::Int32(value) => f64::from(*value),
        Bson::Int64(value) => f64::from(i32::try_from(*value).expect("a small value")),
        Bson::Double(value) => *value,
        other => panic!("{other} is not a number"),
    };
    assert_eq!(by_parameter.keys().copied().collect::<BTreeSet<_>>(), PARAMETERS.into());
    for parameter in ["soc", "speed", "current"] {
        assert!(
            by_parameter[parameter].iter().any(|(_, value)| number(value) == 0.0),
            "{parameter} is never zero"
        );
    }
    for kind in
        [|v: &Bson| v.as_i32().is_some(), |v: &Bson| v.as_i64().is_some(), |v: &Bson| v.as_f64().is_some()]
    {
        assert!(by_parameter["soc"].iter().any(|(_, value)| kind(value)));
    }
    assert!(by_parameter["soc"].iter().all(|(_, value)| (0.0..=100.0).contains(&number(value))));
    assert!(by_parameter["current"].iter().any(|(_, value)| number(value) < -400.0));
    let odo: Vec<f64> = by_parameter["odo"].iter().map(|(_, value)| number(value)).collect();
    assert!(odo.is_sorted() && odo[0] > 0.0);
    assert!((150.0..250.0).contains(&(odo[odo.len() - 1] - odo[0])));
}

/// Every document of a fleet: database, hour, parameter and bytes, sorted.
fn documents(spec: &FleetSpec, reverse: bool) -> Vec<(String, i64, &'static str, Vec<u8>)> {
    let mut vehicles: Vec<_> = spec.vehicles().collect();
    if reverse {
        vehicles.reverse();
    }
    let mut documents = Vec::new();
    for vehicle in vehicles {
        for hour in vehicle.hours() {
            for part in hour.documents {
                let database = vehicle.database().to_owned();
                documents.push((database, hour.start_ms, part.parameter, part.document.into_bytes()));
            }
        }
    }
    documents.sort();
    documents
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_any_order() {
    let spec = FleetSpec { vehicles: 2, hours: 8, ..spec(true) };
    let whole = documents(&spec, false);
    assert_eq!(whole, documents(&spec, true));

    // Hours that are generated alone equal those of the whole fleet.
    let later_ms = FIRST_HOUR_MS + 6 * HOUR_MS;
    let later = documents(&FleetSpec { first_hour_ms: later_ms, hours: 2, ..spec.clone() }, false);
    let mut tail = whole.clone();
    tail.retain(|(_, start_ms, _, _)| *start_ms >= later_ms);
    assert!(!later.is_empty());
    assert_eq!(later, tail);

    assert_ne!(whole, documents(&FleetSpec { seed: 8, ..spec }, false));
}

#[test]
fn oddities_occur_and_only_when_asked_for() {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let odd = FleetSpec { hours: 72, ..spec(true) };
    for vehicle in odd.vehicles() {
        let mut parameters = BTreeSet::new();
        for hour in vehicle.hours() {
            for part in hour.documents {
                parameters.insert(part.parameter);
                let document = Document::try_from(&part.document).expect("valid BSON");
                seen.extend(traits(&document));
            }
        }
        if parameters.len() < PARAMETERS.len() {
            seen.insert("missing collection");
        }
    }
    let all = [
        "5000 ms",
        "count",
        "document value",
        "double _id",
        "int64 _id",
        "key no number",
        "missing collection",
        "no levels",
        "null",
        "outside hour",
        "shuffled",
    ];
    assert_eq!(seen, all.into());

    let plain: BTreeSet<&str> = spec(false)
        .vehicles()
        .flat_map(|vehicle| vehicle.hours().flat_map(|hour| hour.documents).collect::<Vec<_>>())
        .flat_map(|part| traits(&Document::try_from(&part.document).expect("valid BSON")))
        .collect();
    assert_eq!(plain, ["int64 _id"].into());
}

fn traits(document: &Document) -> BTreeSet<&'static str> {
    let mut seen = BTreeSet::new();
    seen.insert(if document.get_f64("_id").is_ok() { "double _id" } else { "int64 _id" });
    if !document.contains_key("levels") {
        seen.insert("no levels");
    }
    if document.contains_key("count") {
        seen.insert("count");
    }
    let mut open = vec![(document.get_document("values").expect("values"), 0)];
    while let Some((level, depth)) = open.pop() {
        for (key, child) in level {
            if let Some(inner) = child.as_document().and_then(|child| child.get_document("values").ok()) {
                if depth == 2 && key.ends_with("5000") {
                    seen.insert("5000 ms");
                }
                open.push((inner, depth + 1));
            } else {
                seen.extend(oddity(key, child));
            }
        }
        let keys: Vec<i64> = level.keys().filter_map(|key| key.parse().ok()).collect();
        let strays = keys.iter().filter(|key| **key < 0 || **key >= HOUR_MS).count();
        if strays == 0 && !keys.is_sorted() {
            seen.insert("shuffled");
        }
    }
    seen
}

fn oddity(key: &str, value: &Bson) -> Option<&'static str> {
    match (key.parse::<i64>(), value) {
        (_, Bson::Document(_)) => Some("document value"),
        (_, Bson::Null) => Some("null"),
        (Err(_), _) => Some("key no number"),
        (Ok(key), _) if key >= HOUR_MS => Some("outside hour"),
        _ => None,
    }
}
