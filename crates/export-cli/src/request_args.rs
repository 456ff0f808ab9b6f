//! The request as flags of `create` and `run`: the fields of the body of `POST /export`.

mod dates;
mod flags;
mod length;
mod names;
mod output;

use chrono::{DateTime, Utc};
use export_core::output::OPTIONS;
use export_core::request::{ExportRequest, FieldError};
use serde_json::{Map, Value};

use crate::failure::UsageError;
use crate::output_path::OutputKind;
use dates::DateArgs;
pub(crate) use dates::parse_since;
pub(crate) use flags::{flag_of_field, flag_of_pointer, in_words_of_flags};
use length::parse_length;
use names::names;
use output::OutputArgs;

/// The request. Values stay texts here: [`ExportRequest::parse`] and the API decide what is valid.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What to export")]
pub(crate) struct RequestArgs {
    #[command(flatten)]
    dates: DateArgs,
    /// Vehicles: repeat the flag or separate names with commas; `\,` is a comma in a name [default:
    /// all]
    #[arg(long = "vehicle", alias = "vehicles", value_name = "NAMES")]
    vehicles: Vec<String>,
    /// Parameters in the order of the columns, given like vehicles [default: all]
    #[arg(long = "parameter", alias = "parameters", value_name = "NAMES")]
    parameters: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    /// Resampling like --step-ms, with a unit: ms, s, m (or min), h or d (24 hours), such as 1m
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true, conflicts_with = "stepMs")]
    step: Option<String>,
    /// With --fill previous: longest age of a repeated value, with a unit, such as 5m
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true, conflicts_with = "fillLimitMs")]
    fill_limit: Option<String>,
}

/// The body of a request, and the flags that its fields come from.
#[derive(Clone, Debug)]
pub(crate) struct RequestBody {
    pub(crate) fields: Map<String, Value>,
    range_flags: [&'static str; 2],
    /// The fields that were given by a flag with a unit, and these flags.
    lengths: Vec<(&'static str, &'static str)>,
    /// Whether the same flags make another body later.
    is_relative: bool,
}

impl RequestArgs {
    /// The request. The error names every wrong flag.
    pub(crate) fn parse(&self, now: DateTime<Utc>) -> Result<(ExportRequest, RequestBody), UsageError> {
        let body = self.body(now, &Map::new())?;
        let parsed = ExportRequest::parse(&Value::Object(body.fields.clone()));
        parsed.map_err(|errors| body.usage_error(&errors)).map(|request| (request, body))
    }

    /// The body of `POST /export`: the given flags, and the rest of an earlier request, which is
    /// empty for a new one.
    pub(crate) fn body(
        &self,
        now: DateTime<Utc>,
        earlier: &Map<String, Value>,
    ) -> Result<RequestBody, UsageError> {
        let mut given = self.dates.fields(now, earlier)?;
        for (name, lists) in [("vehicles", &self.vehicles), ("parameters", &self.parameters)] {
            if !lists.is_empty() {
                given.insert(name.to_owned(), names(lists).into());
            }
        }
        given.extend(self.output.0.clone());
        let mut lengths = Vec::new();
        let flags = [("stepMs", "--step", &self.step), ("fillLimitMs", "--fill-limit", &self.fill_limit)];
        for (field, flag, length) in flags {
            let Some(length) = length else { continue };
            let length = parse_length(length).map_err(|detail| UsageError(format!("{flag}: {detail}")))?;
            given.insert(field.to_owned(), length.into());
            lengths.push((field, flag));
        }
        Ok(RequestBody {
            fields: completed(&given, earlier),
            range_flags: self.dates.flags(),
            lengths,
            is_relative: self.dates.is_relative(),
        })
    }
}

/// The given fields, with those of an earlier request. Options of the earlier request that the given
/// ones make meaningless, such as the compression of files if a zip is asked for now, are left out.
fn completed(given: &Map<String, Value>, earlier: &Map<String, Value>) -> Map<String, Value> {
    let mut body = earlier.clone();
    body.extend(given.clone());
    let errors = ExportRequest::parse(&Value::Object(body.clone())).err().unwrap_or_default();
    for option in OPTIONS {
        let is_refused = errors.iter().any(|error| error.pointer == format!("/{}", option.name));
        if is_refused && !given.contains_key(option.name) {
            body.remove(option.name);
        }
    }
    body
}

impl RequestBody {
    /// What the result will be on the disk.
    pub(crate) fn output_kind(&self) -> OutputKind {
        OutputKind::of_archive(self.fields.get("archive").and_then(Value::as_str).unwrap_or_default())
    }

    /// The flag that a JSON pointer into the body is about, with the name where the pointer is to
    /// an entry of a list.
    pub(crate) fn flag(&self, pointer: &str) -> Option<String> {
        let field = pointer.strip_prefix('/').unwrap_or_default();
        let [start, end] = self.range_flags;
        let mut given =
            [("startDate", start), ("endDate", end)].into_iter().chain(self.lengths.iter().copied());
        match given.find(|(name, _)| *name == field) {
            Some((_, flag)) => Some(flag.to_owned()),
            None => flag_of_pointer(pointer, &self.fields),
        }
    }

    /// The errors with the flags that they are about.
    pub(crate) fn usage_error(&self, errors: &[FieldError]) -> UsageError {
        let lines = errors.iter().map(|FieldError { pointer, detail }| {
            let flag = self.flag(pointer).unwrap_or_else(|| "request".to_owned());
            format!("{flag}: {}", in_words_of_flags(detail))
        });
        UsageError(lines.collect::<Vec<_>>().join("\n  "))
    }

    /// The flags that give the same range later, if the given ones do not.
    pub(crate) fn absolute_range(&self) -> Option<String> {
        let text = |field: &str| self.fields.get(field)?.as_str();
        let (start, end) = (text("startDate")?, text("endDate")?);
        self.is_relative.then(|| format!("--from {start} --to {end}"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct CommandLine {
        #[command(flatten)]
        request: RequestArgs,
    }

    fn now() -> DateTime<Utc> {
        "2026-12-01T03:24:39Z".parse().expect("a time")
    }

    /// The body of these flags for two days.
    fn body_of(flags: &[&str]) -> Result<Value, UsageError> {
        let range = ["exports", "--from", "2018-11-30", "--to", "2018-12-02"];
        let args = CommandLine::try_parse_from([&range[..], flags].concat()).expect("flags").request;
        args.body(now(), &Map::new()).map(|body| Value::Object(body.fields))
    }

    fn body(flags: &[&str]) -> Value {
        body_of(flags).unwrap_or_else(|error| panic!("{flags:?}: {error}"))
    }

    /// The error of these flags.
    fn refusal(flags: &[&str]) -> String {
        let range = ["exports", "--from", "2018-11-30", "--to", "2018-12-02"];
        let args = CommandLine::try_parse_from([&range[..], flags].concat()).expect("flags").request;
        args.parse(now()).expect_err("wrong flags").to_string()
    }

    #[test]
    fn flags_make_the_body_of_the_request() {
        let flags = "--timezone Europe/Amsterdam --vehicle b,a --vehicle c --parameter p\\,q,r\\s,t\\\\ --time-format rfc3339 \
            --csv-guard off --step-ms 1000 --fill previous";
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let expected = serde_json::json!({
            "startDate": "2018-11-30", "endDate": "2018-12-02", "timezone": "Europe/Amsterdam",
            "vehicles": ["b", "a", "c"], "parameters": ["p,q", r"r\s", r"t\"], "timeFormat": "rfc3339",
            "csvGuard": "off", "stepMs": 1000, "fill": "previous",
        });
        assert_eq!(body(&flags), expected);
        assert!(ExportRequest::parse(&expected).is_ok());
    }

    #[test]
    fn earlier_spellings_mean_the_same() {
        let earlier = "exports --start-date 2018-11-30 --end-date 2018-12-02 --vehicles a,b --parameters c";
        let earlier = CommandLine::try_parse_from(earlier.split(' ')).expect("flags").request;
        let earlier = Value::Object(earlier.body(now(), &Map::new()).expect("a body").fields);
        assert_eq!(earlier, body(&["--vehicle", "a", "--vehicle", "b", "--parameter", "c"]));
    }

    #[test]
    fn errors_name_the_flag_and_the_entry() {
        let flags = ["--vehicles", "a,a b", "--time-format", "iso", "--step-ms", "often"];
        let text = refusal(&flags);
        let lines: Vec<&str> = text.split("\n  ").collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("--vehicle \"a b\": not a vehicle name"), "{text}");
        assert!(lines[1].starts_with("--time-format: expected one of unix_ms, rfc3339"), "{text}");
        assert!(lines[2].starts_with("--step-ms: expected a whole number of milliseconds"), "{text}");
        assert_eq!(body(&["--step-ms", "-5"])["stepMs"], "-5", "refused by the parser of requests");
    }

    #[test]
    fn b1_lists_are_trimmed_and_empty_names_are_refused() {
        for list in ["soc,odo", "soc, odo", " soc ,\todo\n", "soc\u{a0},\u{feff}odo"] {
            assert_eq!(body(&["--parameters", list])["parameters"], json!(["soc", "odo"]), "{list:?}");
            assert_eq!(body(&["--vehicles", list])["vehicles"], json!(["soc", "odo"]), "{list:?}");
        }
        for flag in ["--parameter", "--vehicle"] {
            for list in ["", " ", "soc,", ",soc", "soc,,odo", "soc, ,odo"] {
                let expected = format!("{flag} \"\": is empty; give a name, or remove the entry");
                assert_eq!(refusal(&[flag, list]), expected, "{list:?}");
            }
            for list in ["soc,soc", "soc, soc"] {
                assert_eq!(refusal(&[flag, list]), format!("{flag} \"soc\": is listed twice"), "{list:?}");
            }
        }
    }

    #[test]
    fn a_step_has_a_unit() {
        assert_eq!(body(&["--step", "15min"])["stepMs"], 900_000);
        assert!(refusal(&["--step", "1mo"]).starts_with("--step: calendar weeks, months and years"));
        let refused = refusal(&["--step", "1m", "--fill", "last"]);
        assert!(refused.starts_with("--fill: expected one of none, previous"), "{refused}");
        let without = refusal(&["--fill", "previous"]);
        assert!(without.starts_with("--fill: means nothing without --step, "), "{without}");
        let both = ["exports", "--day", "2018-11-30", "--step", "1m", "--step-ms", "5"];
        assert!(CommandLine::try_parse_from(both).is_err());
        let too_long = refusal(&["--step", "99999999999d"]);
        assert!(too_long.starts_with("--step: expected a whole number of milliseconds"), "{too_long}");
        let filled = ["--step", "1m", "--fill", "previous", "--fill-limit"];
        assert_eq!(body(&[&filled[..], &["5m"]].concat())["fillLimitMs"], 300_000);
        assert!(refusal(&[&filled[..], &["5"]].concat()).starts_with("--fill-limit: expected a length"));
        let alone = refusal(&["--fill-limit", "5m"]);
        assert!(alone.starts_with("--fill-limit: "), "{alone}");
    }

    #[test]
    fn errors_name_the_flag_that_was_given() {
        for (flags, expected) in [
            ("--day 0001-01-01 --timezone Asia/Tokyo", "--day: "),
            ("--from 2018-11-30 --to 2018-11-30", "--to: is not part of the range; for all of 2018-11-30"),
            ("--from soon --to 2018-11-30", "--from: "),
        ] {
            let words = ["exports"].into_iter().chain(flags.split(' '));
            let args = CommandLine::try_parse_from(words).expect("flags").request;
            let refused = args.parse(now()).expect_err(flags).to_string();
            assert!(refused.starts_with(expected), "{flags}: {refused}");
        }
    }

    #[test]
    fn flags_replace_parts_of_an_earlier_request() {
        let earlier = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "timezone": "Europe/Amsterdam",
            "vehicles": ["a", "b"], "archive": "none", "compression": "zstd", "stepMs": 1000, "fill": "previous" });
        let earlier = earlier.as_object().expect("fields");
        let body = |flags: &str| {
            let words = ["exports"].into_iter().chain(flags.split_whitespace());
            let args = CommandLine::try_parse_from(words).expect("flags").request;
            let body = args.body(now(), earlier).expect("a body");
            (Value::Object(body.fields.clone()), body)
        };
        assert_eq!(body("").0, Value::Object(earlier.clone()));
        let (fields, changed) = body("--vehicle c --day 2018-12-05 --step 1m --archive zip");
        let expected = json!({ "startDate": "2018-12-05", "endDate": "2018-12-06", "timezone": "Europe/Amsterdam",
            "vehicles": ["c"], "archive": "zip", "stepMs": 60_000, "fill": "previous" });
        assert_eq!(fields, expected, "the compression of files means nothing in a zip");
        assert_eq!(changed.output_kind(), OutputKind::File);
        assert_eq!(body("").1.output_kind(), OutputKind::Folder);
        let kept = body("--archive zip --compression zstd").0;
        assert_eq!(kept["compression"], "zstd", "given, so the service refuses it");
        assert_eq!(
            body("--day -1d").1.absolute_range().as_deref(),
            Some("--from 2026-11-30 --to 2026-12-01")
        );
        assert_eq!(body("--day 2018-12-05").1.absolute_range(), None);
    }
}
