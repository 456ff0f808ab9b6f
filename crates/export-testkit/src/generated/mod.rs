//! Generated cases for property tests: vehicles with every oddity that a database can store, and
//! requests whose ranges cut through their hours.
//!
//! Start at [`case`] for data that a server can store, and at [`dump_case`] for data that only a
//! folder can hold.

mod names;
mod output;
mod repeated;
mod stranger;
mod texts;
mod values;

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use self::output::{bounded_length_ms, start_ms};
use self::repeated::{Extra, INVALID_UTF_8, TEN, extra, patched};
use self::stranger::stranger;
use self::values::{Values, any_values, decimal, value};
use crate::hour::{HourBuilder, IdType, KeyOrder};
use crate::reference::{ReferenceRequest, SourceVehicle, StoredDocument, generated_options};

const HOUR_MS: i64 = 3_600_000;
const PREFIX: &str = "vehicle_";
/// Most vehicles of a case.
const MOST_VEHICLES: usize = 3;
const KEYS: [&str; 22] = [
    "x",
    "",
    "-",
    "+5",
    "5.0",
    "1e3",
    "-0",
    " 1",
    "values",
    "007",
    "300000",
    "3599999",
    "3600000",
    "-1",
    "٣",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "-9223372036854775807",
    TEN,
    INVALID_UTF_8,
];

/// An export to compare.
#[derive(Clone, Debug)]
pub struct Case {
    /// The request.
    pub request: ReferenceRequest,
    /// The stored data, by vehicle `vehicle_000`, `vehicle_001` … (in a dump, odd names too).
    pub vehicles: Vec<SourceVehicle>,
}

/// Data that a database can store: each numeric `_id` once, in order.
pub fn case() -> impl Strategy<Value = Case> {
    let from_ms = prop_oneof![(-1_i64..2).prop_map(|hours| hours * HOUR_MS), -HOUR_MS..2 * HOUR_MS];
    let length_ms = prop_oneof![1_i64..3 * HOUR_MS, (1_i64..4).prop_map(|hours| hours * HOUR_MS)];
    let asked_vehicles =
        option::weighted(0.2, select(vec![vec!["vehicle_001"], vec!["vehicle_000", "vehicle_404"]]));
    let names = names::parameters().prop_flat_map(|names| {
        let asked = names::asked(&names);
        (Just(names), option::weighted(0.2, asked))
    });
    let values = vec(any_values(), names::PARAMETER_COUNT);
    (start_ms(), from_ms, length_ms, asked_vehicles, names, generated_options(), values).prop_flat_map(
        |(start_ms, from_ms, length_ms, vehicles, (names, parameters), options, values)| {
            let owned =
                |names: Option<Vec<&str>>| names.map(|names| names.into_iter().map(str::to_owned).collect());
            let from_ms = start_ms + from_ms;
            let request = ReferenceRequest {
                from_ms,
                to_ms: from_ms + bounded_length_ms(length_ms, &options),
                vehicles: owned(vehicles),
                parameters,
                options,
            };
            vec(collections(start_ms, names, values), 1..=MOST_VEHICLES).prop_map(move |vehicles| Case {
                request: request.clone(),
                vehicles: vehicles
                    .into_iter()
                    .enumerate()
                    .map(|(index, collections)| SourceVehicle {
                        database: format!("{PREFIX}{index:03}"),
                        collections,
                    })
                    .collect(),
            })
        },
    )
}

/// Adds data that only a dump can hold: documents that no query returns, bytes that are not
/// documents, any order.
pub fn dump_case() -> impl Strategy<Value = Case> {
    let place = || (any::<Index>(), any::<Index>(), any::<Index>());
    let strangers = vec((place(), stranger()), 0..6);
    let swaps = prop_oneof![1 => Just(Vec::new()), 1 => vec((place(), any::<Index>()), 1..8)];
    (case(), strangers, swaps, names::vehicles(MOST_VEHICLES)).prop_map(
        |(mut case, strangers, swaps, names)| {
            rename_vehicles(&mut case, &names);
            let near_ms = case.request.from_ms;
            for ((vehicle, collection, at), stranger) in strangers {
                if let Some(documents) = collection_of(&mut case, vehicle, collection) {
                    documents.insert(at.index(documents.len() + 1), stranger.build(near_ms));
                }
            }
            for ((vehicle, collection, from), to) in swaps {
                if let Some(documents) =
                    collection_of(&mut case, vehicle, collection).filter(|all| !all.is_empty())
                {
                    let moved = documents.remove(from.index(documents.len()));
                    documents.insert(to.index(documents.len() + 1), moved);
                }
            }
            case
        },
    )
}

/// Gives the vehicles other names, in the request too. A server has no two databases whose names
/// are equal but for case; a dump may have.
fn rename_vehicles(case: &mut Case, names: &[String]) {
    let numbered = |number: usize| format!("{PREFIX}{number:03}");
    for (number, name) in names.iter().enumerate() {
        let asked = case.request.vehicles.iter_mut().flatten();
        let stored = case.vehicles.iter_mut().map(|vehicle| &mut vehicle.database);
        for database in asked.chain(stored).filter(|database| **database == numbered(number)) {
            *database = format!("{PREFIX}{name}");
        }
    }
}

fn collection_of(case: &mut Case, vehicle: Index, collection: Index) -> Option<&mut Vec<StoredDocument>> {
    let count = case.vehicles.len();
    let collections = &mut case.vehicles[vehicle.index(count)].collections;
    let count = collections.len();
    if count == 0 { None } else { collections.values_mut().nth(collection.index(count)) }
}

/// A vehicle's collections, some of them missing, some of them empty.
fn collections(
    start_ms: i64,
    names: Vec<&'static str>,
    values: Vec<Values>,
) -> impl Strategy<Value = BTreeMap<String, Vec<StoredDocument>>> {
    let hours = (0..names.len()).prop_flat_map(move |index| {
        let name = names[index].to_owned();
        hours(start_ms, values[index]).prop_map(move |hours| (name.clone(), hours))
    });
    vec(hours, 0..4).prop_map(|collections| collections.into_iter().collect())
}

/// Hour documents, each `_id` once, in any order.
fn hours(start_ms: i64, values: Values) -> impl Strategy<Value = Vec<StoredDocument>> {
    // Documents that do not begin on the hour overlap their neighbours.
    let offset_ms = prop_oneof![
        4 => (-2_i64..5).prop_map(|hours| hours * HOUR_MS),
        1 => (-4_i64..10).prop_map(|halves| halves * HOUR_MS / 2),
        1 => -2 * HOUR_MS..5 * HOUR_MS,
    ];
    btree_map(offset_ms, any_hour(values), 0..5).prop_map(move |hours| {
        hours.into_iter().map(|(offset_ms, hour)| hour.build(start_ms + offset_ms)).collect()
    })
}

#[derive(Clone, Debug)]
struct AnyHour {
    id_kind: u8,
    is_fine: bool,
    key_order: KeyOrder,
    has_levels: bool,
    has_count: bool,
    points: Vec<(i64, Bson)>,
    entries: Vec<(Vec<String>, Bson)>,
    extras: Vec<Extra>,
    damage: u8,
}

fn any_hour(values: Values) -> impl Strategy<Value = AnyHour> {
    let key_order =
        prop_oneof![Just(KeyOrder::Numeric), Just(KeyOrder::Text), any::<u64>().prop_map(KeyOrder::Shuffled)];
    // Most points share a few times, so that columns meet in rows; some lie outside their hour.
    let time_ms = prop_oneof![8 => (0_i64..200).prop_map(|tenths| tenths * 100), 1 => 0..HOUR_MS, 1 => -5_000..HOUR_MS + 5_000];
    let entries = prop_oneof![1 => Just(Vec::new()), 1 => vec((vec(key(), 1..5), value(values)), 1..8)];
    let extras = prop_oneof![3 => Just(Vec::new()), 1 => vec(extra(values), 1..4)];
    (
        0_u8..20,
        any::<bool>(),
        key_order,
        any::<bool>(),
        any::<bool>(),
        vec((time_ms, value(values)), 0..20),
        (entries, extras),
        0_u8..30,
    )
        .prop_map(
            |(id_kind, is_fine, key_order, has_levels, has_count, points, (entries, extras), damage)| {
                AnyHour {
                    id_kind,
                    is_fine,
                    key_order,
                    has_levels,
                    has_count,
                    points,
                    entries,
                    extras,
                    damage,
                }
            },
        )
}

impl AnyHour {
    #[expect(clippy::cast_precision_loss, reason = "times in tests are far below 2^53 ms")]
    fn build(self, id_ms: i64) -> StoredDocument {
        let mut hour = HourBuilder::new(id_ms)
            .innermost_ms(if self.is_fine { 5_000 } else { 10_000 })
            .key_order(self.key_order)
            .points(self.points.into_iter().map(|(offset_ms, value)| (id_ms + offset_ms, value)));
        if !self.has_levels {
            hour = hour.without_levels();
        }
        if self.has_count {
            hour = hour.field("count", 3);
        }
        if self.id_kind < 8 {
            hour = hour.id_type(IdType::Double);
        } else if self.id_kind < 12 && i32::try_from(id_ms).is_ok() {
            hour = hour.id_type(IdType::Int32);
        }
        let mut document = hour.build();
        for (path, value) in self.entries {
            insert(&mut document, &path, value);
        }
        match self.id_kind {
            17 => drop(document.insert("_id", decimal(&id_ms.to_string()))),
            18 => drop(document.insert("_id", decimal(&format!("{id_ms}.25")))),
            19 => drop(document.insert("_id", id_ms as f64 + 0.5)),
            _ => {}
        }
        match self.damage {
            28 => drop(document.remove("values")),
            29 => drop(document.insert("values", 5)),
            _ => {}
        }
        for extra in self.extras {
            extra.add_to(&mut document);
        }
        patched(&document)
    }
}

/// Stores a value under these keys, as deep as the document allows: a point on the way ends the
/// path.
fn insert(document: &mut Document, path: &[String], value: Bson) {
    let (last, levels) = path.split_last().expect("paths have a key at least");
    let mut values = document.get_document_mut("values").expect("a fresh hour");
    for key in levels {
        if !values.contains_key(key) {
            values.insert(key.clone(), doc! { "values": {} });
        }
        let is_level =
            matches!(values.get(key), Some(Bson::Document(child)) if child.get_document("values").is_ok());
        if !is_level {
            break;
        }
        let level = values.get_document_mut(key).expect("a level");
        values = level.get_document_mut("values").expect("a level");
    }
    values.insert(last.clone(), value);
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("0".to_owned()),
        3 => (0_u32..30).prop_map(|key| key.to_string()),
        1 => (-4_000_000_i64..4_000_000).prop_map(|key| key.to_string()),
        2 => select(&KEYS[..]).prop_map(str::to_owned),
    ]
}
