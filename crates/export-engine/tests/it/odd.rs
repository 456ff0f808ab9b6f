//! Vehicles as odd as a database can hold them, and requests that cut through their hours.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use export_testkit::hour::{HourBuilder, IdType, KeyOrder};
use export_testkit::reference::{ReferenceRequest, SourceVehicle};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const HOUR_MS: i64 = 3_600_000;
/// 2018-11-30T00:00:00Z, and an hour before 1970 where an int32 `_id` fits and times are negative.
const STARTS_MS: [i64; 2] = [1_543_536_000_000, -2 * HOUR_MS];
const PARAMETERS: [&str; 5] = ["soc", "odo", "p.q", "a,b", "say \"hi\""];
const KEYS: [&str; 20] = [
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
];

/// An export to compare.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) request: ReferenceRequest,
    pub(crate) vehicles: Vec<SourceVehicle>,
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let from_ms = prop_oneof![(-1_i64..2).prop_map(|hours| hours * HOUR_MS), -HOUR_MS..2 * HOUR_MS];
    let length_ms = prop_oneof![1_i64..3 * HOUR_MS, (1_i64..4).prop_map(|hours| hours * HOUR_MS)];
    let asked_vehicles =
        option::weighted(0.2, select(vec![vec!["vehicle_001"], vec!["vehicle_000", "vehicle_404"]]));
    let asked_parameters = option::weighted(0.2, select(vec![vec!["odo"], vec!["nowhere", "p.q", "soc"]]));
    (select(&STARTS_MS[..]), from_ms, length_ms, asked_vehicles, asked_parameters).prop_flat_map(
        |(start_ms, from_ms, length_ms, vehicles, parameters)| {
            let owned =
                |names: Option<Vec<&str>>| names.map(|names| names.into_iter().map(str::to_owned).collect());
            let request = ReferenceRequest {
                from_ms: start_ms + from_ms,
                to_ms: start_ms + from_ms + length_ms,
                vehicles: owned(vehicles),
                parameters: owned(parameters),
            };
            vec(collections(start_ms), 1..4).prop_map(move |vehicles| Case {
                request: request.clone(),
                vehicles: vehicles
                    .into_iter()
                    .enumerate()
                    .map(|(index, collections)| SourceVehicle {
                        database: format!("vehicle_{index:03}"),
                        collections,
                    })
                    .collect(),
            })
        },
    )
}

/// A vehicle's collections, some of them missing, some of them empty.
fn collections(start_ms: i64) -> impl Strategy<Value = BTreeMap<String, Vec<Document>>> {
    let name = select(&PARAMETERS[..]).prop_map(str::to_owned);
    btree_map(name, hours(start_ms), 0..4)
}

/// Hour documents, each `_id` once, in any order.
fn hours(start_ms: i64) -> impl Strategy<Value = Vec<Document>> {
    // Documents that do not begin on the hour overlap their neighbours.
    let offset_ms = prop_oneof![
        4 => (-2_i64..5).prop_map(|hours| hours * HOUR_MS),
        1 => (-4_i64..10).prop_map(|halves| halves * HOUR_MS / 2),
        1 => -2 * HOUR_MS..5 * HOUR_MS,
    ];
    btree_map(offset_ms, any_hour(), 0..5).prop_map(move |hours| {
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
    damage: u8,
}

fn any_hour() -> impl Strategy<Value = AnyHour> {
    let key_order =
        prop_oneof![Just(KeyOrder::Numeric), Just(KeyOrder::Text), any::<u64>().prop_map(KeyOrder::Shuffled)];
    // Most points share few times, so that columns meet in rows; some lie outside their hour.
    let time_ms = prop_oneof![8 => (0_i64..200).prop_map(|tenths| tenths * 100), 1 => 0..HOUR_MS, 1 => -5_000..HOUR_MS + 5_000];
    let entries = prop_oneof![1 => Just(Vec::new()), 1 => vec((vec(key(), 1..5), value()), 1..8)];
    (
        0_u8..20,
        any::<bool>(),
        key_order,
        any::<bool>(),
        any::<bool>(),
        vec((time_ms, value()), 0..20),
        entries,
        0_u8..30,
    )
        .prop_map(|(id_kind, is_fine, key_order, has_levels, has_count, points, entries, damage)| {
            AnyHour { id_kind, is_fine, key_order, has_levels, has_count, points, entries, damage }
        })
}

impl AnyHour {
    #[expect(clippy::cast_precision_loss, reason = "times in tests are far below 2^53 ms")]
    fn build(self, id_ms: i64) -> Document {
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
        document
    }
}

/// Stores a value under these keys, as deep as the document allows: a point on the way ends the path.
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

/// A value of any type. One number picks the type and one the value: thousands are made per case.
fn value() -> impl Strategy<Value = Bson> {
    (0_u8..36, any::<u64>(), any::<Index>()).prop_map(|(kind, bits, index)| value_of(kind, bits, index))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "random bits become random numbers"
)]
fn value_of(kind: u8, bits: u64, index: Index) -> Bson {
    const TEXTS: [&str; 10] = ["", "=1", "+1", "@x", "a,b", "q\"q", "x\ry", "two\nlines", "\tq", "é|é"];
    const DECIMALS: [&str; 7] = ["1.50", "-0", "1E+20", "NaN", "-Infinity", "0.0000001", "-408.3"];
    let signed = bits as i64;
    match kind {
        0 => Bson::Int32(0),
        1 => Bson::Int32(signed as i32),
        2 => Bson::Int64(signed),
        3 => Bson::Double(f64::from_bits(bits)),
        4 => Bson::Double(-0.0),
        5 => Bson::Double((signed >> 8) as f64),
        6 => Bson::Double((signed >> 11) as f64 * 2_f64.powi(-((bits % 64) as i32))),
        7 => Bson::Double((bits % 10) as f64 * 10_f64.powi((bits % 40) as i32 - 15)),
        8 => Bson::Boolean(bits.is_multiple_of(2)),
        9 => Bson::Null,
        10 | 11 => Bson::String(TEXTS[index.index(TEXTS.len())].to_owned()),
        12 => decimal(DECIMALS[index.index(DECIMALS.len())]),
        13 => doc! { "a": 1 }.into(),
        14 => doc! { "values": 3 }.into(),
        15 => doc! { "values": {} }.into(),
        16 => Bson::Array(vec![1.into()]),
        17 => Bson::DateTime(bson::DateTime::from_millis(5)),
        18 => Bson::Undefined,
        19 => Bson::MinKey,
        20 => Bson::MaxKey,
        21 => Bson::Symbol("s".to_owned()),
        22 => Bson::JavaScriptCode("x".to_owned()),
        23 => bson::JavaScriptCodeWithScope { code: "x".to_owned(), scope: doc! { "values": { "1": 2 } } }
            .into(),
        24 => Bson::ObjectId(bson::oid::ObjectId::from_bytes([1; 12])),
        25 => Bson::Timestamp(bson::Timestamp { time: 1, increment: 2 }),
        26 => bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] }.into(),
        27 => bson::Regex { pattern: bson::cstr!("a").into(), options: bson::cstr!("i").into() }.into(),
        _ => Bson::Double((signed % 40_831) as f64 / 100.0),
    }
}

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().expect("a decimal"))
}
