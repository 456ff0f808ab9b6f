//! Value parsers: the type, the bounds and the expected form of a setting.
//!
//! Unlike clap's own parsers, these never repeat the value in an error, and they treat a blank
//! value as "not given", so that `VARIABLE=` in an env file or a Compose file means the default.

use std::ffi::OsStr;
use std::fmt::{Debug, Display};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};

use crate::names::name_of;
use crate::value::{missing_text, wrong_text};

type Parse<T> = dyn Fn(&str) -> Option<T> + Send + Sync;

/// Parses the text of one setting.
#[derive(Clone)]
pub struct SettingParser<T> {
    expected: String,
    parse: Arc<Parse<T>>,
}

impl<T: 'static> SettingParser<T> {
    /// The parser for values that `parse` accepts; `expected` completes the sentence "expected …".
    pub fn new(
        expected: impl Into<String>,
        parse: impl Fn(&str) -> Option<T> + Send + Sync + 'static,
    ) -> Self {
        Self { expected: expected.into(), parse: Arc::new(parse) }
    }

    fn map<U: 'static>(self, convert: impl Fn(T) -> U + Send + Sync + 'static) -> SettingParser<U> {
        let Self { expected, parse } = self;
        SettingParser::new(expected, move |text| parse(text).map(&convert))
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for SettingParser<T> {
    type Value = T;

    fn parse_ref(&self, _: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let name = argument.map(name_of).unwrap_or_default();
        let name = name.as_str();
        let default = || argument.and_then(|argument| argument.get_default_values().first()?.to_str());
        let text = match value.to_str().map(str::trim) {
            Some("") => Some(default().unwrap_or_default()),
            text => text,
        };
        if let Some(value) = text.filter(|text| !text.is_empty()).and_then(|text| (self.parse)(text)) {
            return Ok(value);
        }
        let describe = if text == Some("") { missing_text } else { wrong_text };
        Err(clap::Error::raw(ErrorKind::ValueValidation, describe(name, &self.expected)))
    }
}

impl<T> Debug for SettingParser<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SettingParser({})", self.expected)
    }
}

/// A value of a type that parses itself.
pub fn value<T: FromStr + 'static>(expected: &str) -> SettingParser<T> {
    SettingParser::new(expected, |text| text.parse().ok())
}

/// A text that `is_valid` accepts.
pub fn text(expected: &str, is_valid: fn(&str) -> bool) -> SettingParser<String> {
    SettingParser::new(expected, move |text| is_valid(text).then(|| text.to_owned()))
}

/// One of these words.
pub fn one_of<T: Copy + Send + Sync + 'static>(
    expected: &str,
    choices: &'static [(&'static str, T)],
) -> SettingParser<T> {
    SettingParser::new(expected, |text| {
        choices.iter().find_map(|(word, value)| (*word == text).then_some(*value))
    })
}

/// A number within bounds.
pub fn number<T: FromStr + 'static>(bounds: RangeInclusive<u64>) -> SettingParser<T> {
    within("a number", bounds)
}

/// A number from 1 to `max`.
pub fn count(max: u64) -> SettingParser<NonZeroU32> {
    number(1..=max)
}

/// A number of things such as `days`, within bounds.
pub fn number_of<T: FromStr + 'static>(things: &str, bounds: RangeInclusive<u64>) -> SettingParser<T> {
    within(format!("a number of {things}"), bounds)
}

/// A number of seconds within bounds.
pub fn seconds(bounds: RangeInclusive<u64>) -> SettingParser<Duration> {
    number_of("seconds", bounds).map(Duration::from_secs)
}

/// A number of milliseconds within bounds.
pub fn milliseconds(bounds: RangeInclusive<u64>) -> SettingParser<Duration> {
    number_of("milliseconds", bounds).map(Duration::from_millis)
}

/// A number of hours within bounds.
pub fn hours(bounds: RangeInclusive<u64>) -> SettingParser<Duration> {
    number_of("hours", bounds).map(Duration::from_hours)
}

fn within<T: FromStr + 'static>(what: impl Display, bounds: RangeInclusive<u64>) -> SettingParser<T> {
    let expected = if *bounds.end() == u64::MAX {
        format!("{what}, at least {}", bounds.start())
    } else {
        format!("{what} from {} to {}", bounds.start(), bounds.end())
    };
    SettingParser::new(expected, move |text| {
        let is_within = text.parse().is_ok_and(|number: u64| bounds.contains(&number));
        if is_within { text.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {

    use super::*;

    fn parse<T: Clone + Send + Sync + 'static>(
        parser: SettingParser<T>,
        default: &'static str,
        value: &str,
    ) -> Result<T, String> {
        let argument =
            Arg::new("days").long("max-days").env("MAX_DAYS").default_value(default).value_parser(parser);
        let command = Command::new("program").arg(argument);
        let mut matches = command
            .try_get_matches_from(["program", &format!("--max-days={value}")])
            .map_err(|error| error.to_string())?;
        Ok(matches.remove_one("days").expect("a value"))
    }

    #[test]
    fn numbers_are_within_bounds() {
        let days = || number_of::<NonZeroU32>("days", 1..=3650);
        assert_eq!(parse(days(), "7", " 3650 ").map(NonZeroU32::get), Ok(3650));
        for wrong in ["0", "3651", "-1", "1e3", "99999999999999999999", "hunter2"] {
            let error = parse(days(), "7", wrong).expect_err(wrong);
            let text = "setting MAX_DAYS is wrong: expected a number of days from 1 to 3650 \
                        (see the variable MAX_DAYS or the flag --max-days)";
            assert!(error.contains(text) && !error.contains("hunter2"), "{error}");
        }
        assert_eq!(parse(seconds(1..=5), "1", "5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse(milliseconds(1..=5), "1", "5"), Ok(Duration::from_millis(5)));
    }

    #[test]
    fn a_blank_value_is_the_default_and_without_one_missing() {
        assert_eq!(parse(number::<u16>(0..=9), "3", "  "), Ok(3));
        let error = parse(text("the name of a bucket", |_| true), "", "  ").expect_err("no default");
        let text = "setting MAX_DAYS is missing: the name of a bucket \
                    (set the variable MAX_DAYS or the flag --max-days)";
        assert!(error.contains(text), "{error}");
    }
}
