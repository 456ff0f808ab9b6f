//! The request as flags of `create` and `run`: the fields of the body of `POST /export`.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use export_core::names::trimmed;
use export_core::output::{OPTIONS, Values};
use export_core::request::{ExportRequest, FieldError};
use serde_json::{Map, Value};

use crate::failure::UsageError;
use crate::output_path::OutputKind;

/// The request. Values stay texts here: [`ExportRequest::parse`] and the API decide what is valid.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What to export")]
pub(crate) struct RequestArgs {
    /// First day (2018-11-30, from midnight in --timezone) or time (2018-11-30T08:00:00Z, or without
    /// an offset in --timezone)
    #[arg(long, visible_alias = "start-date", value_name = "DATE", allow_hyphen_values = true)]
    from: String,
    /// First day or time not in the export: --from 2018-11-30 --to 2018-12-01 is one day
    #[arg(long, visible_alias = "end-date", value_name = "DATE", allow_hyphen_values = true)]
    to: String,
    /// Vehicles: repeat the flag or separate names with commas; `\,` is a comma in a name [default:
    /// all]
    #[arg(long = "vehicle", visible_alias = "vehicles", value_name = "NAMES")]
    vehicles: Vec<String>,
    /// Parameters in the order of the columns, given like vehicles [default: all]
    #[arg(long = "parameter", visible_alias = "parameters", value_name = "NAMES")]
    parameters: Vec<String>,
    /// IANA time zone of days, of times without an offset and of rfc3339 times [default: UTC]
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    timezone: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// The output options that are given, as fields of the request. Each option of [`OPTIONS`] is a
/// flag.
#[derive(Clone, Debug, Default)]
struct OutputArgs(Map<String, Value>);

impl Args for OutputArgs {
    fn augment_args(command: Command) -> Command {
        command.args(OPTIONS.iter().map(|option| {
            let arg = Arg::new(option.name).long(option.flag);
            match option.values {
                Values::OneOf(names) => {
                    let values = format!("[values: {}] [default: {}]", names.join(", "), names[0]);
                    arg.value_name("VALUE").help(format!("{} {values}", option.about))
                }
                Values::Milliseconds => {
                    arg.value_name("MILLISECONDS").help(option.about).allow_hyphen_values(true)
                }
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OutputArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = OPTIONS.iter().filter_map(|option| {
            let text = matches.get_one::<String>(option.name)?;
            let value = match option.values {
                Values::OneOf(_) => text.as_str().into(),
                // A text that is not a number is sent as it is: the parser of requests refuses it
                // with its own message.
                Values::Milliseconds => {
                    text.parse::<u64>().map_or_else(|_| text.as_str().into(), Value::from)
                }
            };
            Some((option.name.to_owned(), value))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl RequestArgs {
    /// What the result will be on the disk.
    pub(crate) fn output_kind(&self) -> OutputKind {
        OutputKind::of_archive(self.output.0.get("archive").and_then(Value::as_str).unwrap_or_default())
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
        ];
        let given =
            texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.clone().into())));
        let mut body: Map<String, Value> = given.collect();
        for (name, lists) in [("vehicles", &self.vehicles), ("parameters", &self.parameters)] {
            if !lists.is_empty() {
                body.insert(name.to_owned(), names(lists).into());
            }
        }
        body.extend(self.output.0.clone());
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

    /// The errors with the flags that they are about.
    pub(crate) fn usage_error(&self, errors: &[FieldError]) -> UsageError {
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

/// Splits at commas; spaces around a name are not part of it. `\,` is a comma in a name and `\\` a
/// backslash: names of parameters may contain both.
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
    entries.iter().map(|entry| trimmed(entry).to_owned()).collect()
}

/// The flag of a field: `--time-format` for `timeFormat`.
fn kebab_flag(field: &str) -> String {
    field.chars().fold("--".to_owned(), |mut flag, character| {
        if character.is_ascii_uppercase() {
            flag.push('-');
        }
        flag.push(character.to_ascii_lowercase());
        flag
    })
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
    fn b1_lists_are_trimmed_and_empty_names_are_refused() {
        for list in ["soc,odo", "soc, odo", " soc ,\todo\n", "soc\u{a0},\u{feff}odo"] {
            assert_eq!(args(&["--parameters", list]).body()["parameters"], json!(["soc", "odo"]), "{list:?}");
            assert_eq!(args(&["--vehicles", list]).body()["vehicles"], json!(["soc", "odo"]), "{list:?}");
        }
        let error = |flags: &[&str]| args(flags).parse().expect_err("a wrong list").to_string();
        for flag in ["--parameter", "--vehicle"] {
            for list in ["", " ", "soc,", ",soc", "soc,,odo", "soc, ,odo"] {
                let expected = format!("{flag} \"\": is empty; give a name, or remove the entry");
                assert_eq!(error(&[flag, list]), expected, "{list:?}");
            }
            for list in ["soc,soc", "soc, soc"] {
                assert_eq!(error(&[flag, list]), format!("{flag} \"soc\": is listed twice"), "{list:?}");
            }
        }
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
