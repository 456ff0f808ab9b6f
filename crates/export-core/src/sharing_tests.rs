//! Equal requests have equal keys, and any single difference makes another.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn key(body: &Value, allowed: &AllowedVehicles) -> ShareKey {
    ShareKey::of(&ExportRequest::parse(body).expect("a request"), allowed)
}

fn like(patterns: &[&str]) -> AllowedVehicles {
    AllowedVehicles::Like(patterns.iter().map(|text| text.parse().expect("a pattern")).collect())
}

/// A request with some of the fields, and a second one that differs only in fields without an
/// effect on the result.
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
    (1_u32..28, names(), names(), options, any::<bool>()).prop_map(|(day, vehicles, parameters, options, fresh)| {
        let (format, archive, time_format, csv_guard, step_ms) = options;
        let is_parquet = format == Some("parquet");
        let body = json!({
            "startDate": format!("2018-11-{day:02}"), "endDate": "2018-12-01", "vehicles": vehicles,
            "parameters": parameters, "format": format, "archive": archive,
            "timeFormat": time_format.filter(|_| !is_parquet), "csvGuard": csv_guard.filter(|_| !is_parquet),
            "stepMs": step_ms.map(|step_ms| step_ms * 1_000),
        });
        let mut same = body.clone();
        same["webhookUrl"] = json!("https://example.com/hook");
        same["fresh"] = json!(fresh);
        same["label"] = json!("another name");
        same["timezone"] = json!("UTC");
        (body, same)
    })
}

proptest! {
    #[test]
    fn equal_requests_have_equal_keys((body, same) in bodies()) {
        let all = AllowedVehicles::All;
        prop_assert_eq!(key(&body, &all), key(&same, &all));
    }

    #[test]
    fn different_requests_have_different_keys((one, _) in bodies(), (other, _) in bodies()) {
        let all = AllowedVehicles::All;
        let parsed = |body| {
            let mut request = ExportRequest::parse(body).expect("a request");
            request.vehicles.iter_mut().for_each(|vehicles| vehicles.sort());
            request
        };
        prop_assert_eq!(parsed(&one) == parsed(&other), key(&one, &all) == key(&other, &all));
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
        // The same instant in another notation, which the manifest repeats.
        ("startDate", json!("2018-11-30T00:00:00Z")),
        ("endDate", json!("2018-12-02")),
        ("timezone", json!("Europe/Amsterdam")),
        // The same instants in a zone of another name: rows in rfc3339 show it, and so does the
        // manifest.
        ("timezone", json!("Etc/UTC")),
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
        key(&base, &all),
        ShareKey::of_version(
            &ExportRequest::parse(&base).expect("a request"),
            &all,
            RESULT_FORMAT_VERSION + 1,
        ),
        key(&base, &like(&["a*"])),
        key(&base, &like(&["a*", "b*"])),
    ];
    for (name, value) in changes {
        let mut body = base.clone();
        body[name] = value;
        keys.push(key(&body, &all));
    }
    let distinct: std::collections::HashSet<_> = keys.iter().cloned().collect();
    assert_eq!(distinct.len(), keys.len());
    assert!(keys.iter().all(|key| key.as_str().len() == 64));
}

#[test]
fn the_order_of_vehicles_does_not_matter() {
    let body = |vehicles| json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": vehicles });
    let (one, other) = (body(["a", "b", "c"]), body(["c", "a", "b"]));
    let all = AllowedVehicles::All;
    assert_eq!(key(&one, &all), key(&other, &all));
    assert_eq!(key(&one, &like(&["a*", "*"])), key(&other, &like(&["*", "a*"])));
    assert_eq!(
        ExportRequest::parse(&other).expect("a request").vehicles.map(|vehicles| vehicles.len()),
        Some(3)
    );
}

#[test]
fn vehicles_and_parameters_are_kept_apart() {
    let body = |vehicles: Value, parameters: Value| json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": vehicles, "parameters": parameters });
    let all = AllowedVehicles::All;
    let one = key(&body(json!(["a"]), Value::Null), &all);
    let other = key(&body(Value::Null, json!(["a"])), &all);
    assert_ne!(one, other);
}

/// Results are found by stored keys, so the hashed text must not change, except that each further
/// option comes after `fill`.
#[test]
fn the_hashed_text_is_fixed() {
    let body = json!({
        "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": ["a", "b"], "timeFormat": "rfc3339",
        "stepMs": 60_000,
    });
    let beginning = concat!(
        r#"{"version":1,"start_date":"2018-11-30","end_date":"2018-12-01","timezone":"UTC","#,
        r#""from_ms":1543536000000,"to_ms":1543622400000,"vehicles":["a","b"],"parameters":null,"#,
        r#""format":"csv","archive":"zip","compression":"gzip","time_format":"rfc3339","csv_guard":"on","#,
        r#""step_ms":60000,"fill":"none","#,
    );
    let further = OutputOptions::default().fields().skip(7);
    let further = further.map(|(option, value)| format!("{:?}:{value},", option.flag.replace('-', "_")));
    let text = format!(r#"{beginning}{}"allowed_vehicles":["a*"]}}"#, further.collect::<String>());
    let request = ExportRequest::parse(&body).expect("a request");
    assert_eq!(ShareKey::of_version(&request, &like(&["a*"]), 1).as_str(), sha256_hex(text));
}
