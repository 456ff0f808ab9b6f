//! The bytes of a small set of results, pinned for the current `RESULT_FORMAT_VERSION`.
//!
//! A shared result may be of an earlier version of the program. So whenever the bytes of any result
//! change, the version must be raised, or a request could get a file with the old bytes.

use std::fmt::Write;

use bson::{Document, doc};
use export_core::RESULT_FORMAT_VERSION;
use export_core::request::ExportRequest;
use export_engine::plan;
use export_fleet::{FleetSpec, Rhythm};
use export_testkit::hour::HourBuilder;
use export_testkit::reference::{SourceVehicle, StoredDocument};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{InMemory, Objects, Run};

/// The version that the hashes below belong to.
const RECORDED_VERSION: u32 = 5;

/// 2018-11-30T00:00:00Z.
const START_MS: i64 = 1_543_536_000_000;

/// By result: the output options of the request, and the SHA-256 of the objects with their names.
const RECORDED: [(&str, &str); 12] = [
    ("zip", "1847248182e63d67a3a162de3a123cc4c095c6684893f164824bd082db49c475"),
    ("csv", "558027e56f6559442116fcd981b7868743b52ea89027b64ead65903ed01061e1"),
    ("gzip", "60cdad5b0da3af647d2d1f07b9d767a79296e45b9d197c7dfc345110e5e8bccd"),
    ("zstd", "e138e03990470d8f20f8f1a3a517c755ba08399a6a3d9329ebfd53bcac100e77"),
    ("rfc3339", "3c3672aede0d8ff3ff776bc002a065807eb4b884186625b718fbeae1bbb1ef77"),
    ("unguarded", "f08e336437c6e460c52dc8d3980dbe43ad98201f23fde27de5e5921c6e951404"),
    ("parquet", "a3233b9e088de00f0ee010848b5d69fbf4d3b1ca7f4156d90761a4a1f694a850"),
    ("parquet_zip", "80071f0b42a282416e3fbb3a4f30328644e4a0c895a61d5b7a037b00685cf72b"),
    ("resampled", "f9b6be2a9bd2692cc4c5f9e65ae9423605724b26e5531bac2a0765f2e91a10d3"),
    ("parquet_resampled", "b610f429fdda5951bca5c905ffaf6eccd1eaf9e3b550154b6d7c669107b22e43"),
    ("filled", "e19ea40d06dad942eb86b533655bf1109275a1504d7edf2d1906d36932b87d96"),
    ("filled_with_limit", "d71b33472392ad5b77cb4cb727045eb97410383967a7dd373b3bcfa1f2c82f4b"),
];

fn options(name: &str) -> Value {
    let plain = |mut options: Value| {
        options["archive"] = json!("none");
        options["compression"] = json!("none");
        options
    };
    match name {
        "zip" => json!({}),
        "csv" => plain(json!({})),
        "gzip" => json!({ "archive": "none", "compression": "gzip" }),
        "zstd" => json!({ "archive": "none", "compression": "zstd" }),
        "rfc3339" => plain(json!({ "timeFormat": "rfc3339", "timezone": "Europe/Amsterdam" })),
        "unguarded" => plain(json!({ "csvGuard": "off" })),
        "parquet" => json!({ "archive": "none", "format": "parquet" }),
        "parquet_zip" => json!({ "format": "parquet" }),
        "parquet_resampled" => json!({ "archive": "none", "format": "parquet", "stepMs": 60_000 }),
        "resampled" => plain(json!({ "stepMs": 60_000 })),
        "filled" => plain(json!({ "stepMs": 60_000, "fill": "previous" })),
        "filled_with_limit" => plain(json!({ "stepMs": 60_000, "fill": "previous", "fillLimitMs": 150_000 })),
        other => panic!("unknown result {other}"),
    }
}

/// Two vehicles of a synthetic fleet with its oddities, some with odd names, and one with every kind
/// of value.
fn vehicles() -> Vec<SourceVehicle> {
    let spec = FleetSpec {
        seed: 3,
        vehicles: 2,
        first_hour_ms: START_MS,
        hours: 3,
        vehicle_prefix: "vehicle_".to_owned(),
        oddities: true,
        rhythm: Rhythm::Paired,
    };
    let mut vehicles: Vec<SourceVehicle> = spec
        .vehicles()
        .map(|vehicle| {
            let mut stored =
                SourceVehicle { database: vehicle.database().to_owned(), ..SourceVehicle::default() };
            for part in vehicle.hours().flat_map(|hour| hour.documents) {
                let document = bson::Document::try_from(&part.document).expect("valid BSON");
                stored.collections.entry(part.parameter.to_owned()).or_default().push(document.into());
            }
            stored
        })
        .collect();
    vehicles.extend(odd_names());
    let values = HourBuilder::new(START_MS)
        .point(START_MS, 0)
        .point(START_MS + 1, -408.3)
        .point(START_MS + 2, true)
        .point(START_MS + 3, "=1+1")
        .point(START_MS + 4, "")
        .point(START_MS + 5, "say \"hi\", twice")
        .point(START_MS + 6, bson::Bson::Null)
        .point(START_MS + 7, "1.50".parse::<bson::Decimal128>().expect("a decimal"))
        .point(START_MS + 8, 1_i64 << 60)
        .point(START_MS + 9, 1.5e300)
        .point(START_MS + 10, "x;=1+1")
        .point(START_MS + 11, "-33.86|151.21")
        .point(START_MS + 12, "a\0b\u{1a}")
        .point(START_MS + 13, "3|-5")
        .point(START_MS + 14, "-33.86,-151.21")
        .build();
    vehicles.push(SourceVehicle {
        database: "vehicle_values".to_owned(),
        collections: [("gps".to_owned(), vec![values.into()])].into(),
    });
    vehicles.push(raw());
    vehicles
}

/// Documents that no driver writes but a server or a dump holds: fields of one name, texts and keys
/// that are not UTF-8, arrays as buckets, and broken bytes. `X` becomes the last letter of `values`
/// or `_id`, and `é` two bytes that are no text.
fn raw() -> SourceVehicle {
    let hour_ms = |hour: i64| START_MS + hour * 3_600_000;
    let twice = doc! {
        "_id": hour_ms(0),
        "values": { "5": 1, "9": { "values": { "1": 2 }, "valueX": { "2": 3 } }, "60000": 4 },
        "valueX": { "5": 5, "7": 6 },
        "note": "beside",
    };
    let texts = doc! { "_id": hour_ms(1), "values": { "1": "good", "2": "é", "é": 3, "3": "x" } };
    let arrays = doc! { "_id": hour_ms(2), "values": [1, { "values": [2.5, "three", [4]] }, true] };
    let ids = doc! { "_id": hour_ms(2), "values": { "1": 1 }, "_iX": hour_ms(-500) };
    let bytes = |document: Document| {
        let mut bytes = document.to_vec().expect("BSON");
        for (from, to) in
            [(&b"valueX\0"[..], &b"values\0"[..]), (b"_iX\0", b"_id\0"), ("é".as_bytes(), &[0xed, 0xa0])]
        {
            for at in 0..bytes.len() - from.len() {
                if bytes[at..].starts_with(from) {
                    bytes[at..at + to.len()].copy_from_slice(to);
                }
            }
        }
        bytes
    };
    let mut broken = bytes(
        doc! { "_id": hour_ms(2), "values": { "1": 1, "2": { "values": { "3": 3, "4": 4 } }, "5": 5 } },
    );
    let at = broken.windows(3).position(|part| part == b"\x104\0").expect("a number");
    broken[at] = 0x55;
    let documents = [twice, texts, arrays, ids].map(bytes).into_iter().chain([broken]);
    SourceVehicle {
        database: "vehicle_raw".to_owned(),
        collections: [("gps".to_owned(), documents.map(StoredDocument::Raw).collect())].into(),
    }
}

/// Vehicles and parameters whose files and columns get other names.
fn odd_names() -> [SourceVehicle; 3] {
    let hour = || vec![HourBuilder::new(START_MS).point(START_MS, 1).build().into()];
    let collections = ["time", "SOC", "soc", "=1+1", "two\nlines"].map(|name| (name.to_owned(), hour()));
    ["vehicle_A", "vehicle_a", "vehicle_a:b"]
        .map(|name| SourceVehicle { database: name.to_owned(), collections: collections.clone().into() })
}

fn sha256(objects: &Objects) -> String {
    let mut sha256 = Sha256::new();
    for (name, content) in &objects.written {
        sha256.update(name.as_bytes());
        sha256.update([0]);
        sha256.update((content.len() as u64).to_le_bytes());
        sha256.update(content);
    }
    let mut hex = String::new();
    for byte in sha256.finalize() {
        write!(hex, "{byte:02x}").expect("text");
    }
    hex
}

#[test]
fn a12_results_have_the_recorded_bytes() {
    let vehicles = vehicles();
    let source = InMemory(&vehicles);
    let mut changed = String::new();
    for (name, recorded) in RECORDED {
        let mut body = json!({ "startDate": "2018-11-30T00:00:00Z", "endDate": "2018-11-30T03:00:00Z" });
        for (option, value) in options(name).as_object().into_iter().flatten() {
            body[option] = value.clone();
        }
        let request = ExportRequest::parse(&body).expect("a request");
        let plan = plan(&request, &source).expect("a plan");
        let exported = Run::default().export(&plan, &source).expect("an export");
        let found = sha256(&exported.sink);
        if found != recorded {
            writeln!(changed, "    (\"{name}\", \"{found}\"),").expect("text");
        }
    }
    assert!(
        changed.is_empty() && RECORDED_VERSION == RESULT_FORMAT_VERSION,
        "the bytes of results have changed: raise RESULT_FORMAT_VERSION and record the new hashes:\n{changed}"
    );
}
