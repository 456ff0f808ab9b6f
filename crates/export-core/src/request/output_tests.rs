use std::num::NonZeroU64;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::output::{Format, LONGEST_STEP_MS, Values};
use crate::request::ExportRequest;

/// A request for one day with these options on top.
fn body(options: &[(&str, Value)]) -> Value {
    let mut body = json!({"startDate": "2018-11-30", "endDate": "2018-12-01"});
    for (name, value) in options {
        body[name] = value.clone();
    }
    body
}

fn output(options: &[(&str, Value)]) -> OutputOptions {
    ExportRequest::parse(&body(options)).expect("a valid request").output
}

/// The pointers of all errors, in the order reported.
fn pointers(options: &[(&str, Value)]) -> Vec<String> {
    let errors = ExportRequest::parse(&body(options)).expect_err("a bad request");
    errors.into_iter().map(|error| error.pointer).collect()
}

fn only_detail(options: &[(&str, Value)]) -> String {
    let errors = ExportRequest::parse(&body(options)).expect_err("a bad request");
    let [error] = &errors[..] else { panic!("more than one error: {errors:?}") };
    error.detail.clone()
}

/// The options as fields of a request: only options with an effect.
fn stated(output: OutputOptions) -> Value {
    output.serialize_effective(serde_json::value::Serializer).expect("JSON")
}

#[test]
fn every_option_is_read() {
    let given = [
        ("archive", json!("none")),
        ("compression", json!("zstd")),
        ("timeFormat", json!("rfc3339")),
        ("csvGuard", json!("off")),
        ("stepMs", json!(60_000)),
        ("fill", json!("previous")),
    ];
    let read = stated(output(&given));
    for (name, value) in given {
        assert_eq!(read[name], value, "{name}");
    }
    assert_eq!(output(&[("format", json!("parquet"))]).format, Format::Parquet);
    assert_eq!(output(&[]), OutputOptions::default());
}

#[test]
fn an_invalid_value_is_reported_with_the_valid_ones() {
    for (name, expected) in [
        ("format", "expected one of csv, parquet"),
        ("archive", "expected one of zip, none"),
        ("timeFormat", "expected one of unix_ms, rfc3339"),
        ("csvGuard", "expected one of on, off"),
    ] {
        for wrong in [json!("CSV"), json!(""), json!(true), json!(["csv"]), json!({})] {
            assert_eq!(only_detail(&[(name, wrong.clone())]), expected, "{name}: {wrong}");
        }
    }
    let expected = "expected one of gzip, zstd, none";
    assert_eq!(only_detail(&[("archive", json!("none")), ("compression", json!("xz"))]), expected);
    assert_eq!(
        only_detail(&[("stepMs", json!(1)), ("fill", json!("next"))]),
        "expected one of none, previous"
    );
}

#[test]
fn a_step_is_a_whole_number_in_its_bounds() {
    let too_long = LONGEST_STEP_MS + 1;
    for wrong in
        [json!(0), json!(-1), json!(1.5), json!("1000"), json!(too_long), json!(u64::MAX), json!([1])]
    {
        let detail = only_detail(&[("stepMs", wrong.clone())]);
        assert!(detail.starts_with("expected a whole number of milliseconds from 1 to"), "{wrong}: {detail}");
    }
    // Longer than the range is fine: one row.
    assert_eq!(
        output(&[("stepMs", json!(LONGEST_STEP_MS))]).step_ms.map(NonZeroU64::get),
        Some(LONGEST_STEP_MS)
    );
}

#[test]
fn all_errors_are_reported_at_once() {
    let options = [
        ("format", json!("parquet")),
        ("archive", json!("tar")),
        ("compression", json!("xz")),
        ("timeFormat", json!("rfc3339")),
        ("csvGuard", json!("off")),
        ("fill", json!("next")),
    ];
    let expected = ["/archive", "/compression", "/fill", "/compression", "/timeFormat", "/csvGuard", "/fill"];
    assert_eq!(pointers(&options), expected);
    // An invalid step is not a missing one.
    assert_eq!(pointers(&[("stepMs", json!(0)), ("fill", json!("previous"))]), ["/stepMs"]);
    // With an invalid archive, the compression is not checked.
    assert_eq!(pointers(&[("archive", json!("tar")), ("compression", json!("zstd"))]), ["/archive"]);
}

/// Absent, null and every value of an option.
fn choices(values: &[&str]) -> Vec<Option<Value>> {
    [None, Some(Value::Null)].into_iter().chain(values.iter().map(|value| Some(json!(value)))).collect()
}

/// All combinations of all options except the length of the step: each parses to exactly its
/// values, or is rejected for exactly the options without effect.
#[test]
fn every_combination_is_accepted_or_rejected() {
    let options = [
        ("format", choices(&["csv", "parquet"])),
        ("archive", choices(&["zip", "none"])),
        ("compression", choices(&["gzip", "zstd", "none"])),
        ("timeFormat", choices(&["unix_ms", "rfc3339"])),
        ("csvGuard", choices(&["on", "off"])),
        ("stepMs", vec![None, Some(Value::Null), Some(json!(1_000))]),
        ("fill", choices(&["none", "previous"])),
        ("fillLimitMs", vec![None, Some(Value::Null), Some(json!(300_000))]),
    ];
    let combination_count: usize = options.iter().map(|(_, choices)| choices.len()).product();
    for combination in 0..combination_count {
        let mut rest = combination;
        let mut said: Vec<(&str, Value)> = Vec::new();
        for (name, choices) in &options {
            said.extend(choices[rest % choices.len()].clone().map(|value| (*name, value)));
            rest /= choices.len();
        }
        check_combination(&said);
    }
}

fn check_combination(said: &[(&str, Value)]) {
    let text = |name: &str| {
        said.iter().find(|(found, value)| *found == name && !value.is_null()).map(|(_, value)| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    let is_parquet = text("format").as_deref() == Some("parquet");
    let means_nothing = [
        ("/compression", is_parquet || text("archive").as_deref() != Some("none"), text("compression")),
        ("/timeFormat", is_parquet, text("timeFormat")),
        ("/csvGuard", is_parquet, text("csvGuard")),
        ("/fill", text("stepMs").is_none(), text("fill")),
        (
            "/fillLimitMs",
            text("stepMs").is_none() || text("fill").as_deref() != Some("previous"),
            text("fillLimitMs"),
        ),
    ];
    let expected: Vec<&str> = means_nothing
        .iter()
        .filter(|(_, is_useless, said)| *is_useless && said.is_some())
        .map(|(pointer, ..)| *pointer)
        .collect();
    if !expected.is_empty() {
        assert_eq!(pointers(said), expected, "{said:?}");
        return;
    }
    let output = output(said);
    let or = |name: &str, default: &str| text(name).unwrap_or_else(|| default.to_owned());
    assert_eq!(output.format.to_string(), or("format", "csv"), "{said:?}");
    assert_eq!(output.archive.to_string(), or("archive", "zip"), "{said:?}");
    assert_eq!(output.compression.to_string(), or("compression", "gzip"), "{said:?}");
    assert_eq!(output.time_format.to_string(), or("timeFormat", "unix_ms"), "{said:?}");
    assert_eq!(output.csv_guard.to_string(), or("csvGuard", "on"), "{said:?}");
    assert_eq!(output.step_ms.map(|step_ms| step_ms.to_string()), text("stepMs"), "{said:?}");
    let fill = text("stepMs").map(|_| or("fill", "none"));
    assert_eq!(output.fill.map(|fill| fill.to_string()), fill, "{said:?}");
    assert_eq!(output.fill_limit_ms.map(|limit_ms| limit_ms.to_string()), text("fillLimitMs"), "{said:?}");
}

/// Options that a request can ask for: those without effect have their defaults.
fn any_output() -> impl Strategy<Value = OutputOptions> {
    let values = OPTIONS.map(|option| match option.values {
        Values::OneOf(names) => prop::sample::select(names).prop_map(Value::from).boxed(),
        Values::Milliseconds => prop::option::of(1..=LONGEST_STEP_MS).prop_map(Value::from).boxed(),
    });
    Vec::from(values).prop_map(|values| {
        let fields: Map<_, _> = OPTIONS.iter().map(|option| option.name.to_owned()).zip(values).collect();
        let given = serde_json::from_value(fields.into()).expect("options");
        serde_json::from_value(stated(given)).expect("options")
    })
}

proptest! {
    #[test]
    fn options_stated_are_read_back(output in any_output()) {
        let stated = stated(output);
        let fields: Vec<_> = stated.as_object().into_iter().flatten().collect();
        let options: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), (*value).clone())).collect();
        let request = ExportRequest::parse(&body(&options));
        prop_assert_eq!(request.map(|request| request.output), Ok(output));
    }

    /// Every step of at least a millisecond is accepted; the admission bounds its rows.
    #[test]
    fn steps_have_at_least_a_millisecond(step_ms in 0..=LONGEST_STEP_MS * 2, is_filled in any::<bool>()) {
        let fill = if is_filled { "previous" } else { "none" };
        let request = json!({
            "startDate": "2018-11-30", "endDate": "2018-12-01", "stepMs": step_ms, "fill": fill
        });
        let is_valid = (1..=LONGEST_STEP_MS).contains(&step_ms);
        prop_assert_eq!(ExportRequest::parse(&request).is_ok(), is_valid);
    }
}
