//! The request as flags of `create` and `run`: the fields of the body of `POST /export`.

use std::fmt::Write as _;

use export_core::request::{ExportRequest, FieldError};
use serde_json::{Map, Value};

use crate::failure::UsageError;
use crate::output_path::OutputKind;

/// The request. Values stay texts here: [`ExportRequest::parse`] and the API decide what is valid.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What to export")]
pub(crate) struct RequestArgs {
    /// First day (2018-11-30, from midnight in --timezone) or instant (2018-11-30T08:00:00Z)
    #[arg(long, visible_alias = "start-date", value_name = "DATE")]
    from: String,
    /// First day or instant not in the export: --from 2018-11-30 --to 2018-12-01 is one day
    #[arg(long, visible_alias = "end-date", value_name = "DATE")]
    to: String,
    /// Vehicles: repeat the flag or separate names with commas; `\,` is a comma in a name [default:
    /// all]
    #[arg(long = "vehicle", visible_alias = "vehicles", value_name = "NAMES")]
    vehicles: Vec<String>,
    /// Parameters in the order of the columns, given like vehicles [default: all]
    #[arg(long = "parameter", visible_alias = "parameters", value_name = "NAMES")]
    parameters: Vec<String>,
    /// IANA time zone of days and of rfc3339 times [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// File format: csv or parquet [default: csv]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// zip, or none for one file per vehicle [default: zip]
    #[arg(long, value_name = "ARCHIVE")]
    archive: Option<String>,
    /// Compression of CSV files with --archive none: gzip, zstd or none [default: gzip]
    #[arg(long, value_name = "COMPRESSION")]
    compression: Option<String>,
    /// Times in CSV files
    #[arg(long, value_name = "FORMAT", help = "Times in CSV files: unix_ms or rfc3339 [default: unix_ms]")]
    time_format: Option<String>,
    /// CSV files: on or off; on puts a ' before strings that a spreadsheet would run as formulas
    /// [default: on]
    #[arg(long, value_name = "GUARD")]
    csv_guard: Option<String>,
    /// Resample: one row per interval of this many milliseconds
    #[arg(long, value_name = "MILLISECONDS", allow_hyphen_values = true)]
    step_ms: Option<String>,
    /// With --step-ms, for intervals without data: none, or previous to repeat the last value
    /// [default: none]
    #[arg(long, value_name = "FILL")]
    fill: Option<String>,
}

impl RequestArgs {
    /// What the result will be on the disk.
    pub(crate) fn output_kind(&self) -> OutputKind {
        OutputKind::of_archive(self.archive.as_deref().unwrap_or_default())
    }

    /// The request. The error names every wrong flag.
    pub(crate) fn parse(&self) -> Result<ExportRequest, UsageError> {
        ExportRequest::parse(&Value::Object(self.body())).map_err(|errors| self.usage_error(&errors))
    }

    /// The body of `POST /export`.
    pub(crate) fn body(&self) -> Map<String, Value> {
        let texts = [
            ("startDate", Some(&self.from)),
            ("endDate", Some(&self.to)),
            ("timezone", self.timezone.as_ref()),
            ("format", self.format.as_ref()),
            ("archive", self.archive.as_ref()),
            ("compression", self.compression.as_ref()),
            ("timeFormat", self.time_format.as_ref()),
            ("csvGuard", self.csv_guard.as_ref()),
            ("fill", self.fill.as_ref()),
        ];
        let given =
            texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.clone().into())));
        let mut body: Map<String, Value> = given.collect();
        for (name, lists) in [("vehicles", &self.vehicles), ("parameters", &self.parameters)] {
            if !lists.is_empty() {
                body.insert(name.to_owned(), names(lists).into());
            }
        }
        if let Some(text) = &self.step_ms {
            // A text that is not a number is sent as it is: the parser of requests refuses it with
            // its own message.
            let step = text.parse::<u64>().map_or_else(|_| text.clone().into(), Value::from);
            body.insert("stepMs".to_owned(), step);
        }
        body
    }

    /// The flag that a JSON pointer into the body is about, with the name where the pointer is to
    /// an entry of a list.
    pub(crate) fn flag(&self, pointer: &str) -> Option<String> {
        let mut parts = pointer.split('/').skip(1);
        let (flag, lists) = match parts.next()? {
            "" => return None,
            "startDate" => ("--from".to_owned(), &[][..]),
            "endDate" => ("--to".to_owned(), &[][..]),
            "vehicles" => ("--vehicle".to_owned(), &self.vehicles[..]),
            "parameters" => ("--parameter".to_owned(), &self.parameters[..]),
            field => (kebab_flag(field), &[][..]),
        };
        let index = parts.next().and_then(|index| index.parse::<usize>().ok());
        let name = index.and_then(|index| names(lists).into_iter().nth(index));
        Some(name.map_or_else(|| flag.clone(), |name| format!("{flag} {name:?}")))
    }

    fn usage_error(&self, errors: &[FieldError]) -> UsageError {
        let lines = errors.iter().map(|FieldError { pointer, detail }| {
            format!("{}: {detail}", self.flag(pointer).unwrap_or_else(|| "request".to_owned()))
        });
        UsageError(lines.collect::<Vec<_>>().join("\n  "))
    }
}

/// All names of comma-separated lists.
fn names(lists: &[String]) -> Vec<String> {
    lists.iter().flat_map(|list| split(list)).collect()
}

/// Splits at commas. `\,` is a comma in a name and `\\` a backslash: names of parameters may
/// contain both.
fn split(list: &str) -> Vec<String> {
    let mut entries = vec![String::new()];
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = match character {
            '\\' => characters.next_if(|next| matches!(next, ',' | '\\')),
            _ => None,
        };
        match (escaped, entries.last_mut()) {
            (None, _) if character == ',' => entries.push(String::new()),
            (escaped, Some(entry)) => entry.push(escaped.unwrap_or(character)),
            (_, None) => {}
        }
    }
    entries
}

/// The flag of a field: `--time-format` for `timeFormat`.
fn kebab_flag(field: &str) -> String {
    field.chars().fold("--".to_owned(), |mut flag, character| {
        if character.is_ascii_uppercase() {
            flag.push('-');
        }
        // Writing to a String cannot fail.
        let _ = write!(flag, "{}", character.to_ascii_lowercase());
        flag
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct CommandLine {
        #[command(flatten)]
        request: RequestArgs,
    }

    fn args(flags: &[&str]) -> RequestArgs {
        let range = ["exports", "--from", "2018-11-30", "--to", "2018-12-02"];
        CommandLine::try_parse_from([&range[..], flags].concat()).expect("flags").request
    }

    #[test]
    fn flags_make_the_body_of_the_request() {
        let flags = "--timezone Europe/Amsterdam --vehicle b,a --vehicle c --parameter p\\,q,r\\s,t\\\\ --time-format rfc3339 \
            --csv-guard off --step-ms 1000 --fill previous";
        let args = args(&flags.split_whitespace().collect::<Vec<_>>());
        let expected = serde_json::json!({
            "startDate": "2018-11-30", "endDate": "2018-12-02", "timezone": "Europe/Amsterdam",
            "vehicles": ["b", "a", "c"], "parameters": ["p,q", r"r\s", r"t\"], "timeFormat": "rfc3339",
            "csvGuard": "off", "stepMs": 1000, "fill": "previous",
        });
        assert_eq!(Value::Object(args.body()), expected);
        assert_eq!(args.parse().expect("a request"), ExportRequest::parse(&expected).expect("a request"));
    }

    #[test]
    fn earlier_spellings_mean_the_same() {
        let earlier = "exports --start-date 2018-11-30 --end-date 2018-12-02 --vehicles a,b --parameters c";
        let earlier = CommandLine::try_parse_from(earlier.split(' ')).expect("flags").request;
        let now = args(&["--vehicle", "a", "--vehicle", "b", "--parameter", "c"]);
        assert_eq!(earlier.body(), now.body());
    }

    #[test]
    fn errors_name_the_flag_and_the_entry() {
        let flags = ["--vehicles", "a,a b", "--time-format", "iso", "--step-ms", "often"];
        let text = args(&flags).parse().expect_err("all of it is wrong").to_string();
        let lines: Vec<&str> = text.split("\n  ").collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("--vehicle \"a b\": not a vehicle name"), "{text}");
        assert!(lines[1].starts_with("--time-format: expected one of unix_ms, rfc3339"), "{text}");
        assert!(lines[2].starts_with("--step-ms: expected a whole number of milliseconds"), "{text}");
        assert_eq!(args(&["--step-ms", "-5"]).body()["stepMs"], "-5", "refused by the parser of requests");
    }

    #[test]
    fn an_empty_list_is_one_empty_name() {
        let text = args(&["--parameter", ""]).parse().expect_err("no name").to_string();
        assert!(text.starts_with("--parameter \"\": not a parameter name"), "{text}");
    }

    #[test]
    fn pointers_into_the_body_are_flags() {
        let args = args(&["--vehicle", r"b,a\,b"]);
        for (pointer, flag) in [
            ("/startDate", Some("--from")),
            ("/endDate", Some("--to")),
            ("/vehicles/1", Some("--vehicle \"a,b\"")),
            ("/vehicles/7", Some("--vehicle")),
            ("/parameters", Some("--parameter")),
            ("/timeFormat", Some("--time-format")),
            ("/stepMs", Some("--step-ms")),
            ("/webhookUrl", Some("--webhook-url")),
            ("", None),
            ("/", None),
        ] {
            assert_eq!(args.flag(pointer).as_deref(), flag, "{pointer}");
        }
    }
}
