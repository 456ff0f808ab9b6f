//! Equal requests have equal keys, and any single difference makes another.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn key(body: &Value, allowed: &AllowedVehicles, version: &str) -> ShareKey {
    ShareKey::of(&ExportRequest::parse(body).expect("a request"), allowed, version)
}

fn like(patterns: &[&str]) -> AllowedVehicles {
    AllowedVehicles::Like(patterns.iter().map(|text| text.parse().expect("a pattern")).collect())
}

/// A request with some of the fields, in two versions that mean the same: as it is, and with what does not matter changed.
fn bodies() -> impl Strategy<Value = (Value, Value)> {
    let names =
        || prop::option::of(prop::sample::subsequence(vec!["a", "b", "c", "d"], 1..=4).prop_shuffle());
    let choice = |values: &'static [&'static str]| prop::option::of(prop::sample::select(values));
    let options = (
        choice(&["csv", "parquet"]),
        choice(&["zip", "none"]),
        choice(&["unix_ms", "rfc3339"]),
        choice(&["on", "off"]),
        prop::option::of(1_u64..100_000),
    );
    (1_u32..28, names(), names(), options, any::<bool>()).prop_map(|(day, vehicles, parameters, options, force)| {
        let (format, archive, time_format, csv_guard, step_ms) = options;
        let is_parquet = format == Some("parquet");
        let body = json!({
            "startDate": format!("2018-11-{day:02}"), "endDate": "2018-12-01", "vehicles": vehicles,
            "parameters": parameters, "format": format, "archive": archive,
            "timeFormat": time_format.filter(|_| !is_parquet), "csvGuard": csv_guard.filter(|_| !is_parquet),
            "stepMs": step_ms.map(|step_ms| step_ms * 1_000),
        });
        let mut same = body.clone();
        same["webhookUrl"] = json!("https://example.com/told");
        same["force"] = json!(force);
        same["timezone"] = json!("UTC");
        (body, same)
    })
}

proptest! {
    #[test]
    fn equal_requests_have_equal_keys((body, same) in bodies()) {
        let all = AllowedVehicles::All;
        prop_assert_eq!(key(&body, &all, "1"), key(&same, &all, "1"));
    }

    #[test]
    fn different_requests_have_different_keys((one, _) in bodies(), (other, _) in bodies()) {
        let all = AllowedVehicles::All;
        let parsed = |body| ExportRequest::parse(body).expect("a request");
        prop_assert_eq!(parsed(&one) == parsed(&other), key(&one, &all, "1") == key(&other, &all, "1"));
    }
}

#[test]
fn any_single_difference_makes_another_key() {
    let base = json!({
        "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": ["a", "b"], "parameters": ["soc", "odo"],
        "stepMs": 60_000, "archive": "none",
    });
    let changes = [
        ("startDate", json!("2018-11-29")),
        // The same instant in other words: the manifest repeats the words.
        ("startDate", json!("2018-11-30T00:00:00Z")),
        ("endDate", json!("2018-12-02")),
        ("timezone", json!("Europe/Amsterdam")),
        // The same instants by the name of another zone: rows in rfc3339 tell them apart, and so does the manifest.
        ("timezone", json!("Etc/UTC")),
        ("vehicles", json!(["b", "a"])),
        ("vehicles", json!(["a"])),
        ("vehicles", Value::Null),
        ("parameters", json!(["odo", "soc"])),
        ("parameters", Value::Null),
        ("format", json!("parquet")),
        ("compression", json!("zstd")),
        ("timeFormat", json!("rfc3339")),
        ("csvGuard", json!("off")),
        ("archive", json!("zip")),
        ("stepMs", json!(1_000)),
        ("stepMs", Value::Null),
        ("fill", json!("previous")),
    ];
    let all = AllowedVehicles::All;
    let mut keys = vec![
        key(&base, &all, "1"),
        key(&base, &all, "2"),
        key(&base, &like(&["a*"]), "1"),
        key(&base, &like(&["a*", "b*"]), "1"),
        key(&base, &like(&["b*", "a*"]), "1"),
    ];
    for (name, value) in changes {
        let mut body = base.clone();
        body[name] = value;
        keys.push(key(&body, &all, "1"));
    }
    let distinct: std::collections::HashSet<_> = keys.iter().cloned().collect();
    assert_eq!(distinct.len(), keys.len());
    assert!(keys.iter().all(|key| key.as_str().len() == 64));
}

#[test]
fn a_list_is_not_taken_for_another_list() {
    let body = |vehicles: Value, parameters: Value| json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": vehicles, "parameters": parameters });
    let all = AllowedVehicles::All;
    let one = key(&body(json!(["a"]), Value::Null), &all, "1");
    let other = key(&body(Value::Null, json!(["a"])), &all, "1");
    assert_ne!(one, other);
}
