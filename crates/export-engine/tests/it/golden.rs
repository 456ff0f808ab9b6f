//! The bytes of a small set of results, pinned for the current `RESULT_FORMAT_VERSION`.
//!
//! A shared result may be of an earlier version of the program. So whenever the bytes of any result
//! change, the version must be raised, or a request could get a file with the old bytes.

use std::fmt::Write;

use export_core::RESULT_FORMAT_VERSION;
use export_core::request::ExportRequest;
use export_engine::plan;
use export_fleet::{FleetSpec, Rhythm};
use export_testkit::hour::HourBuilder;
use export_testkit::reference::SourceVehicle;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{InMemory, Objects, Run};

/// The version that the hashes below belong to.
const RECORDED_VERSION: u32 = 2;

/// 2018-11-30T00:00:00Z.
const START_MS: i64 = 1_543_536_000_000;

/// By result: the output options of the request, and the SHA-256 of the objects with their names.
const RECORDED: [(&str, &str); 10] = [
    ("zip", "7ce652352174f0d8538d9006d87f1f32ac81d7a1a978f8f532426f412b4e9602"),
    ("csv", "c353aa5684bc71f79cd4e74625af23ec638bce2c25fe4c1d759fe7a1e42e3bf1"),
    ("gzip", "e71b993bcf84c34242325c7837c46b23f3c4cf6362554999e2c4107e6a78bbe7"),
    ("zstd", "936e26204b4a2e1b9830084b84bbb681e4551300adaa36d98d45ef98390d265e"),
    ("rfc3339", "b6bf8d3ede9abac9c856295ea8c50bd87cc015d0d419f30433513d10bf0bb09b"),
    ("unguarded", "383252d5276e28e877a4c65ede1aee903d2efdca4a2118d90d96a2ab39a205c1"),
    ("parquet", "79e8c038672f17c1b12de1f0faf0426b75a4f83335e0f613b2604337bf0fa5d2"),
    ("parquet_zip", "612e5c6a6c699aebd833815fc6b9b8da38e72016114ece3cea8715f54a983c0b"),
    ("resampled", "627d25e70b7a06a1c90b0dccd9a3995f137c26050fd08c85f8a56975d3ac753f"),
    ("filled", "c95fa07dacd843fa3dc34e519d2d5eab9ebc7620947ea7758f9ac28858bf51f9"),
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
        "resampled" => plain(json!({ "stepMs": 60_000 })),
        "filled" => plain(json!({ "stepMs": 60_000, "fill": "previous" })),
        other => panic!("unknown result {other}"),
    }
}

/// Two vehicles of a synthetic fleet with its oddities, and one with every kind of value.
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
        .build();
    vehicles.push(SourceVehicle {
        database: "vehicle_values".to_owned(),
        collections: [("gps".to_owned(), vec![values.into()])].into(),
    });
    vehicles
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
fn results_have_the_recorded_bytes() {
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
