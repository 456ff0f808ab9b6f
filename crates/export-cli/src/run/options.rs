//! The request's options as flags: the same fields as the body of `POST /export`, under the same names, by the same rules.

use std::fmt::Write as _;

use export_core::request::{ExportRequest, FieldError};
use serde_json::{Map, Value};

use crate::failure::UsageError;

/// Each is a field of the body of `POST /export`. Texts are taken as they are: what is right is decided in one place.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What to export")]
pub(crate) struct RequestArgs {
    /// First day (2018-11-30, from midnight in --timezone) or instant (2018-11-30T08:00:00Z); needed
    #[arg(long, value_name = "DATE")]
    start_date: Option<String>,
    /// Day or instant that the range ends before; needed
    #[arg(long, value_name = "DATE")]
    end_date: Option<String>,
    /// IANA zone of days and of rfc3339 times [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Vehicles, separated by commas; may be repeated; `\,` is a comma in a name [default: all]
    #[arg(long, value_name = "NAMES")]
    vehicles: Vec<String>,
    /// Parameters in the order of the columns, as --vehicles [default: all]
    #[arg(long, value_name = "NAMES")]
    parameters: Vec<String>,
    /// csv or parquet [default: csv]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// zip, or none for a folder with a file per vehicle [default: zip]
    #[arg(long, value_name = "ARCHIVE")]
    archive: Option<String>,
    /// Of CSVs with --archive none: gzip, zstd or none [default: gzip]
    #[arg(long, value_name = "COMPRESSION")]
    compression: Option<String>,
    /// Of CSVs
    #[arg(long, value_name = "FORMAT", help = "Of CSVs: unix_ms or rfc3339 [default: unix_ms]")]
    time_format: Option<String>,
    /// Of CSVs: on or off; on puts a ' before strings that a spreadsheet would run [default: on]
    #[arg(long, value_name = "GUARD")]
    csv_guard: Option<String>,
    /// One row per interval of so many milliseconds
    #[arg(long, value_name = "MILLISECONDS", allow_hyphen_values = true)]
    step_ms: Option<String>,
    /// With --step-ms: none, or previous for the last value known [default: none]
    #[arg(long, value_name = "FILL")]
    fill: Option<String>,
}

impl RequestArgs {
    /// The request that they make. An error tells all that is wrong, by flag.
    pub(crate) fn parse(&self) -> Result<ExportRequest, UsageError> {
        ExportRequest::parse(&Value::Object(self.body())).map_err(|errors| self.usage_error(&errors))
    }

    fn body(&self) -> Map<String, Value> {
        let texts = [
            ("startDate", &self.start_date),
            ("endDate", &self.end_date),
            ("timezone", &self.timezone),
            ("format", &self.format),
            ("archive", &self.archive),
            ("compression", &self.compression),
            ("timeFormat", &self.time_format),
            ("csvGuard", &self.csv_guard),
            ("fill", &self.fill),
        ];
        let mut body: Map<String, Value> = texts
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), text.clone()?.into())))
            .collect();
        for (name, lists) in [("vehicles", &self.vehicles), ("parameters", &self.parameters)] {
            if !lists.is_empty() {
                body.insert(name.to_owned(), entries(lists).into());
            }
        }
        if let Some(text) = &self.step_ms {
            // What is no number stays a text, which is refused in the words that the API has for it.
            let step = text.parse::<u64>().map_or_else(|_| text.clone().into(), Value::from);
            body.insert("stepMs".to_owned(), step);
        }
        body
    }

    fn usage_error(&self, errors: &[FieldError]) -> UsageError {
        let lines = errors.iter().map(|FieldError { pointer, detail }| {
            let mut parts = pointer.split('/').skip(1);
            let name = parts.next().unwrap_or_default();
            let lists = match name {
                "vehicles" => &self.vehicles[..],
                "parameters" => &self.parameters[..],
                _ => &[],
            };
            let index = parts.next().and_then(|index| index.parse::<usize>().ok());
            let entry = index.and_then(|index| entries(lists).into_iter().nth(index));
            let entry = entry.map_or_else(String::new, |entry| format!(" {entry:?}"));
            format!("{}{entry}: {detail}", flag_of(name))
        });
        UsageError(lines.collect::<Vec<_>>().join("\n  "))
    }
}

/// The names in comma-separated lists.
fn entries(lists: &[String]) -> Vec<String> {
    lists.iter().flat_map(|list| split(list)).collect()
}

/// Splits at commas. `\,` is a comma of a name and `\\` a backslash, since parameters may have both.
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

/// The flag of a field: `startDate` is `--start-date`.
fn flag_of(field: &str) -> String {
    field.chars().fold("--".to_owned(), |mut flag, character| {
        if character.is_ascii_uppercase() {
            flag.push('-');
        }
        // Writing to a text cannot fail.
        let _ = write!(flag, "{}", character.to_ascii_lowercase());
        flag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_days() -> RequestArgs {
        RequestArgs {
            start_date: Some("2018-11-30".to_owned()),
            end_date: Some("2018-12-02".to_owned()),
            ..RequestArgs::default()
        }
    }

    #[test]
    fn flags_make_the_request_that_the_api_would_get() {
        let args = RequestArgs {
            timezone: Some("Europe/Amsterdam".to_owned()),
            vehicles: vec!["b,a".to_owned(), "c".to_owned()],
            parameters: vec![r"p\,q,r\s,t\\".to_owned()],
            time_format: Some("rfc3339".to_owned()),
            csv_guard: Some("off".to_owned()),
            step_ms: Some("1000".to_owned()),
            fill: Some("previous".to_owned()),
            ..two_days()
        };
        let expected = serde_json::json!({
            "startDate": "2018-11-30", "endDate": "2018-12-02", "timezone": "Europe/Amsterdam",
            "vehicles": ["b", "a", "c"], "parameters": ["p,q", r"r\s", r"t\"], "timeFormat": "rfc3339",
            "csvGuard": "off", "stepMs": 1000, "fill": "previous",
        });
        assert_eq!(Value::Object(args.body()), expected);
        assert_eq!(args.parse().expect("a request"), ExportRequest::parse(&expected).expect("a request"));
    }

    #[test]
    fn errors_name_the_flag_and_the_entry() {
        let args = RequestArgs {
            end_date: None,
            vehicles: vec!["a,a b".to_owned()],
            time_format: Some("iso".to_owned()),
            step_ms: Some("often".to_owned()),
            ..two_days()
        };
        let text = args.parse().expect_err("all of it is wrong").to_string();
        let lines: Vec<&str> = text.split("\n  ").collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[0].starts_with("--end-date: is required"), "{text}");
        assert!(lines[1].starts_with("--vehicles \"a b\": not a vehicle name"), "{text}");
        assert!(lines[2].starts_with("--time-format: expected one of unix_ms, rfc3339"), "{text}");
        assert!(lines[3].starts_with("--step-ms: expected a whole number of milliseconds"), "{text}");
    }

    #[test]
    fn an_empty_list_is_one_empty_name() {
        let args = RequestArgs { parameters: vec![String::new()], ..two_days() };
        let text = args.parse().expect_err("no name").to_string();
        assert!(text.starts_with("--parameters \"\": not a parameter name"), "{text}");
    }
}
