//! The vehicles of [`super::one_day`], each with one oddity and its expected file.

use bson::{Bson, doc};

use super::{DAY_MS, HOUR_MS, OddVehicle};
use crate::hour::{HourBuilder, IdType, KeyOrder};

fn hour(number: i64) -> HourBuilder {
    HourBuilder::new(DAY_MS + number * HOUR_MS)
}

/// Without oddities: cells of one time share a row, and rows are in order of time across hours and
/// parameters.
pub(super) fn aligned() -> OddVehicle {
    let t = DAY_MS + 12_345;
    OddVehicle {
        suffix: "aligned",
        collections: vec![
            ("soc", vec![hour(0).point(t, 23.1).build(), hour(5).point(DAY_MS + 5 * HOUR_MS, 20).build()]),
            ("speed", vec![hour(0).point(t, 45.2).build()]),
            ("current", vec![hour(0).point(t + 20, 27).build()]),
            ("odo", vec![hour(5).point(DAY_MS + 5 * HOUR_MS, 1126.587).build()]),
            ("voltage", vec![hour(0).points([(t, 602), (t + 42, 603)]).build()]),
        ],
        csv: "time,soc,speed,current,odo,voltage\n\
              1543536012345,23.1,45.2,,,602\n\
              1543536012365,,,27,,\n\
              1543536012387,,,,,603\n\
              1543554000000,20,,,1126.587,\n",
        ..OddVehicle::default()
    }
}

/// Collections, and data outside the range only.
pub(super) fn empty() -> OddVehicle {
    OddVehicle {
        suffix: "empty",
        collections: vec![
            ("soc", Vec::new()),
            ("speed", Vec::new()),
            ("current", Vec::new()),
            ("odo", vec![hour(-48).point(DAY_MS - 48 * HOUR_MS + 1, 1.5).build()]),
            ("voltage", vec![hour(24).point(DAY_MS + 24 * HOUR_MS, 600).build()]),
        ],
        csv: "time,soc,speed,current,odo,voltage\n",
        ..OddVehicle::default()
    }
}

pub(super) fn id_double() -> OddVehicle {
    let with = |value: i32| hour(1).id_type(IdType::Double).point(DAY_MS + HOUR_MS + 5, value).build();
    OddVehicle {
        suffix: "id_double",
        collections: vec![("soc", vec![with(50)]), ("speed", vec![with(30)])],
        csv: "time,soc,speed,current,odo,voltage\n1543539600005,50,30,,,\n",
        missing_collections: vec!["current", "odo", "voltage"],
        ..OddVehicle::default()
    }
}

/// Hours of both types in one collection.
pub(super) fn id_int64() -> OddVehicle {
    OddVehicle {
        suffix: "id_int64",
        collections: vec![(
            "soc",
            vec![
                hour(3).id_type(IdType::Double).point(DAY_MS + 3 * HOUR_MS, 3).build(),
                hour(2).id_type(IdType::Int64).point(DAY_MS + 2 * HOUR_MS, 2_i64).build(),
                hour(4).id_type(IdType::Int64).point(DAY_MS + 4 * HOUR_MS, 4.0).build(),
            ],
        )],
        csv: "time,soc,speed,current,odo,voltage\n\
              1543543200000,2,,,,\n\
              1543546800000,3,,,,\n\
              1543550400000,4,,,,\n",
        missing_collections: vec!["speed", "current", "odo", "voltage"],
        ..OddVehicle::default()
    }
}

pub(super) fn innermost_5000() -> OddVehicle {
    let t = DAY_MS;
    let speeds = [(t + 4_999, 1), (t + 5_000, 2), (t + 10_000, 3), (t + 59_999, 4)];
    let hour = hour(0).innermost_ms(5_000).key_order(KeyOrder::Text).points(speeds);
    OddVehicle {
        suffix: "innermost_5000",
        collections: vec![("speed", vec![hour.build()])],
        csv: "time,soc,speed,current,odo,voltage\n\
              1543536004999,,1,,,\n\
              1543536005000,,2,,,\n\
              1543536010000,,3,,,\n\
              1543536059999,,4,,,\n",
        missing_collections: vec!["soc", "current", "odo", "voltage"],
        ..OddVehicle::default()
    }
}

pub(super) fn missing_collections() -> OddVehicle {
    OddVehicle {
        suffix: "missing_collections",
        collections: vec![("voltage", vec![hour(0).point(DAY_MS, 601.5).build()])],
        csv: "time,soc,speed,current,odo,voltage\n1543536000000,,,,,601.5\n",
        missing_collections: vec!["soc", "speed", "current", "odo"],
        ..OddVehicle::default()
    }
}

/// Without `levels`, and with fields that an export ignores.
pub(super) fn no_levels() -> OddVehicle {
    let hour =
        hour(0).without_levels().field("count", 1).field("source", "gateway-7").point(DAY_MS + 714, 99);
    OddVehicle {
        suffix: "no_levels",
        collections: vec![("soc", vec![hour.build()])],
        csv: "time,soc,speed,current,odo,voltage\n1543536000714,99,,,,\n",
        missing_collections: vec!["speed", "current", "odo", "voltage"],
        ..OddVehicle::default()
    }
}

/// The first millisecond is included, the end is not; a document that starts before the range
/// reaches into it.
pub(super) fn range_ends() -> OddVehicle {
    let end = DAY_MS + 24 * HOUR_MS;
    let half_hour_before = HourBuilder::new(DAY_MS - HOUR_MS / 2).points([(DAY_MS - 1, 1), (DAY_MS, 2)]);
    let last = HourBuilder::new(end - 1_000).points([(end - 1, 3), (end, 4), (end + 1, 5)]);
    OddVehicle {
        suffix: "range_ends",
        collections: vec![("soc", vec![half_hour_before.build(), last.build()])],
        csv: "time,soc,speed,current,odo,voltage\n1543536000000,2,,,,\n1543622399999,3,,,,\n",
        outside_range: 3,
        missing_collections: vec!["speed", "current", "odo", "voltage"],
        ..OddVehicle::default()
    }
}

/// Points and documents that cannot be decoded are counted, and nothing else is lost.
pub(super) fn rejected() -> OddVehicle {
    let speed = hour(0)
        .points([(DAY_MS, 10), (DAY_MS + 15_000, 20)])
        .entry(&["0", "0", "0", "n/a"], 1)
        .entry(&["x", "0"], 1)
        .entry(&["0", "0", "0", "7"], doc! { "raw": 1 })
        .entry(&["0", "0", "0", "8"], Bson::Array(vec![Bson::Int32(1)]))
        .entry(&["3600000"], 1)
        .entry(&["-1"], 1)
        // A second path to 15,000 ms, later in path order than the first.
        .entry(&["0", "0", "20000", "-5000"], 21);
    let no_values = doc! { "_id": DAY_MS + HOUR_MS, "levels": [HOUR_MS] };
    let fraction = doc! { "_id": 1_543_543_200_000.5_f64, "values": { "0": 1 } };
    OddVehicle {
        suffix: "rejected",
        collections: vec![("speed", vec![speed.build(), no_values, fraction])],
        csv: "time,soc,speed,current,odo,voltage\n\
              1543536000000,,10,,,\n\
              1543536015000,,21,,,\n",
        rejected: vec![("documentValue", 1), ("invalidKey", 2), ("outsideHour", 2), ("unsupportedType", 1)],
        duplicates: 1,
        rejected_documents: vec![("invalidId", 1), ("missingValues", 1)],
        missing_collections: vec!["soc", "current", "odo", "voltage"],
        ..OddVehicle::default()
    }
}

pub(super) fn shuffled() -> OddVehicle {
    let t = DAY_MS;
    let values =
        [(t + 900, 1), (t + 1_000, 2), (t + 5_000, 3), (t + 10_000, 4), (t + 100_000, 5), (t + 2_000_000, 6)];
    OddVehicle {
        suffix: "shuffled",
        collections: vec![
            ("soc", vec![hour(0).key_order(KeyOrder::Text).points(values).build()]),
            ("odo", vec![hour(0).key_order(KeyOrder::Shuffled(3)).points(values).build()]),
        ],
        csv: "time,soc,speed,current,odo,voltage\n\
              1543536000900,1,,,1,\n\
              1543536001000,2,,,2,\n\
              1543536005000,3,,,3,\n\
              1543536010000,4,,,4,\n\
              1543536100000,5,,,5,\n\
              1543538000000,6,,,6,\n",
        missing_collections: vec!["speed", "current", "voltage"],
        ..OddVehicle::default()
    }
}

/// Every type that can be a cell, and a null, which makes a row.
pub(super) fn texts() -> OddVehicle {
    let t = DAY_MS;
    let decimal: bson::Decimal128 = "1234567890.0100".parse().expect("a decimal number");
    let soc = hour(0).points([
        (t, Bson::Null),
        (t + 1, Bson::String(String::new())),
        (t + 2, Bson::String("52.1|4.9".to_owned())),
        (t + 3, Bson::String("a,\"b\"\nc".to_owned())),
        (t + 4, Bson::String("=1+1".to_owned())),
        (t + 5, Bson::Boolean(true)),
        (t + 6, Bson::Decimal128(decimal)),
        (t + 7, Bson::Int64(9_007_199_254_740_993)),
        (t + 8, Bson::Double(1e-7)),
        (t + 9, Bson::Double(1.5e300)),
        (t + 10, Bson::Double(f64::NAN)),
        (t + 11, Bson::Double(f64::NEG_INFINITY)),
    ]);
    OddVehicle {
        suffix: "texts",
        collections: vec![("soc", vec![soc.build()])],
        csv: "time,soc,speed,current,odo,voltage\n\
              1543536000000,,,,,\n\
              1543536000001,\"\",,,,\n\
              1543536000002,52.1|4.9,,,,\n\
              1543536000003,\"a,\"\"b\"\"\nc\",,,,\n\
              1543536000004,'=1+1,,,,\n\
              1543536000005,true,,,,\n\
              1543536000006,1234567890.0100,,,,\n\
              1543536000007,9007199254740993,,,,\n\
              1543536000008,1e-7,,,,\n\
              1543536000009,1.5e300,,,,\n\
              1543536000010,NaN,,,,\n\
              1543536000011,-Infinity,,,,\n",
        guarded: 1,
        missing_collections: vec!["speed", "current", "odo", "voltage"],
        ..OddVehicle::default()
    }
}

/// Zero is a value, whatever its type, and so is a negative number.
pub(super) fn zeros() -> OddVehicle {
    let t = DAY_MS;
    OddVehicle {
        suffix: "zeros",
        collections: vec![
            ("soc", vec![hour(0).points([(t, Bson::Int32(0)), (t + 1, Bson::Double(0.0))]).build()]),
            ("speed", vec![hour(0).points([(t, Bson::Int64(0)), (t + 1, Bson::Double(-0.0))]).build()]),
            ("current", vec![hour(0).points([(t, -408.3), (t + 1, -0.05)]).build()]),
            ("odo", vec![hour(0).points([(t, 1126.587), (t + 1, 335_001.04)]).build()]),
            ("voltage", vec![hour(0).points([(t, Bson::Int32(-1)), (t + 2, Bson::Int32(0))]).build()]),
        ],
        csv: "time,soc,speed,current,odo,voltage\n\
              1543536000000,0,0,-408.3,1126.587,-1\n\
              1543536000001,0,0,-0.05,335001.04,\n\
              1543536000002,,,,,0\n",
        ..OddVehicle::default()
    }
}
