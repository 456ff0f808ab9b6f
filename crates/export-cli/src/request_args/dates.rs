//! The range as flags. Relative spellings (`-7d`, `--day`, `--last-week`) are resolved here, from
//! the current time and the zone, so that the service and the engine only get dates and times.

use chrono::{DateTime, Days, NaiveDate, SecondsFormat, TimeDelta, Timelike as _, Utc, Weekday};
use chrono_tz::Tz;
use export_core::names::trimmed;
use export_core::range::parse_bound;
use export_core::zone::parse_zone;
use serde_json::{Map, Value};

use crate::failure::UsageError;

/// What a text that begins like a relative one must look like.
const EXPECTED: &str = "expected how long ago, in weeks (-2w), days (-7d), hours (-12h) or minutes (-90m)";

/// Flags of the range.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct DateArgs {
    /// First day (2018-11-30, from midnight in --timezone) or time (2018-11-30T08:00:00Z, or without
    /// an offset in --timezone); or how long ago: -7d or -2w count back from today's midnight in
    /// --timezone, -12h or -90m from now, to the whole second
    #[arg(long, alias = "start-date", value_name = "DATE", allow_hyphen_values = true)]
    from: Option<String>,
    /// First day or time not in the export: --from 2018-11-30 --to 2018-12-01 is one day [default, if
    /// --from says how long ago: today's midnight for days and weeks, now for hours and minutes]
    #[arg(long, alias = "end-date", value_name = "DATE", allow_hyphen_values = true)]
    to: Option<String>,
    /// One day, instead of --from and --to: 2018-11-30, or -1d for yesterday in --timezone
    #[arg(long, value_name = "DATE", allow_hyphen_values = true, conflicts_with_all = ["from", "to"])]
    day: Option<String>,
    /// The week before this one, Monday to Monday in --timezone, instead of --from and --to
    #[arg(long, conflicts_with_all = ["from", "to", "day"])]
    last_week: bool,
    /// IANA time zone of days, of times without an offset and of rfc3339 times [default: UTC]
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    timezone: Option<String>,
}

/// A time before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ago {
    /// So many days before the day that is today in a zone; its midnight.
    Days(u64),
    /// So many minutes before now.
    Minutes(i64),
}

impl Ago {
    /// Parses `-7d`; `None` for a text that is not relative.
    fn parse(text: &str) -> Option<Result<Self, String>> {
        let rest = trimmed(text).strip_prefix(['-', '\u{2212}'])?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at(digits);
        if digits == 0 || !unit.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return None;
        }
        let parsed = number.parse::<u32>().ok().and_then(|number| match unit {
            "m" | "min" => Some(Self::Minutes(number.into())),
            "h" => Some(Self::Minutes(i64::from(number) * 60)),
            "d" => Some(Self::Days(number.into())),
            "w" => Some(Self::Days(u64::from(number) * 7)),
            _ => None,
        });
        Some(parsed.ok_or_else(|| EXPECTED.to_owned()))
    }

    /// The end of a range that begins then and has no other end.
    fn usual_end(self) -> Self {
        match self {
            Self::Days(_) => Self::Days(0),
            Self::Minutes(_) => Self::Minutes(0),
        }
    }

    /// As a date, or a time in UTC.
    fn resolve(self, now: DateTime<Utc>, zone: Tz) -> Result<String, String> {
        let resolved = match self {
            Self::Days(days) => {
                let today = now.with_timezone(&zone).date_naive();
                today.checked_sub_days(Days::new(days)).map(|date| date.to_string())
            }
            Self::Minutes(minutes) => now
                .with_nanosecond(0)
                .and_then(|now| now.checked_sub_signed(TimeDelta::minutes(minutes)))
                .map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        };
        resolved.ok_or_else(|| "lies before all dates".to_owned())
    }
}

impl DateArgs {
    /// The given parts of the range as fields of the request. `earlier` is the request whose other
    /// fields apply.
    pub(super) fn fields(
        &self,
        now: DateTime<Utc>,
        earlier: &Map<String, Value>,
    ) -> Result<Map<String, Value>, UsageError> {
        let [start, end] = self.range(now, earlier)?;
        let texts = [("startDate", start), ("endDate", end), ("timezone", self.timezone.clone())];
        Ok(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into()))).collect())
    }

    fn range(
        &self,
        now: DateTime<Utc>,
        earlier: &Map<String, Value>,
    ) -> Result<[Option<String>; 2], UsageError> {
        let of_flag = |flag: &str, detail: String| UsageError(format!("{flag}: {detail}"));
        if let Some(day) = &self.day {
            let of_day = |zone| one_day(day, now, zone).map_err(|detail| of_flag("--day", detail));
            return of_day(self.zone(earlier)?).map(|days| days.map(Some));
        }
        if self.last_week {
            let monday = now.with_timezone(&self.zone(earlier)?).date_naive().week(Weekday::Mon).first_day();
            return Ok([monday - Days::new(7), monday].map(|date| Some(date.to_string())));
        }
        let resolve =
            |flag, ago: Ago| ago.resolve(now, self.zone(earlier)?).map_err(|detail| of_flag(flag, detail));
        let given = |flag, text: &Option<String>| match text.as_deref().and_then(Ago::parse) {
            None => Ok((text.clone(), None)),
            Some(Err(detail)) => Err(of_flag(flag, detail)),
            Some(Ok(ago)) => Ok((Some(resolve(flag, ago)?), Some(ago))),
        };
        let ((start, ago), (end, _)) = (given("--from", &self.from)?, given("--to", &self.to)?);
        let end = match (end, ago) {
            (None, Some(ago)) => Some(resolve("--to", ago.usual_end())?),
            (end, _) => end,
        };
        let wanted = [
            ("--from", "startDate", &start, "a day such as 2018-11-30; or give --day or --last-week instead"),
            ("--to", "endDate", &end, "the first day or time that is not in the export, such as 2018-12-01"),
        ];
        let missing =
            wanted.into_iter().filter(|(_, field, text, _)| text.is_none() && !earlier.contains_key(*field));
        let missing: Vec<String> =
            missing.map(|(flag, _, _, what)| format!("{flag}: is required: {what}")).collect();
        if !missing.is_empty() {
            return Err(UsageError(missing.join("\n  ")));
        }
        Ok([start, end])
    }

    /// The zone in which days begin.
    fn zone(&self, earlier: &Map<String, Value>) -> Result<Tz, UsageError> {
        let name = self.timezone.as_deref().or_else(|| earlier.get("timezone")?.as_str());
        let zone = name.map_or(Ok(Tz::UTC), parse_zone);
        zone.map_err(|error| UsageError(format!("--timezone: {error}")))
    }

    /// The flag that gives the start of the range, and the one that gives its end.
    pub(super) fn flags(&self) -> [&'static str; 2] {
        match (&self.day, self.last_week) {
            (Some(_), _) => ["--day"; 2],
            (None, true) => ["--last-week"; 2],
            (None, false) => ["--from", "--to"],
        }
    }

    /// Whether the same flags mean another range later.
    pub(super) fn is_relative(&self) -> bool {
        let is_ago = |text: &Option<String>| text.as_deref().and_then(Ago::parse).is_some();
        self.last_week || [&self.from, &self.to, &self.day].into_iter().any(is_ago)
    }
}

/// The day and the one after it.
fn one_day(text: &str, now: DateTime<Utc>, zone: Tz) -> Result<[String; 2], String> {
    let text = match Ago::parse(text) {
        None => trimmed(text).to_owned(),
        Some(Ok(ago @ Ago::Days(_))) => ago.resolve(now, zone)?,
        Some(_) => return Err("expected a day, such as 2018-11-30, or -1d for yesterday".to_owned()),
    };
    let bound = parse_bound(&text, zone).map_err(|error| error.to_string())?;
    let date = text.parse::<NaiveDate>().ok().filter(|_| bound.is_day);
    let date = date.ok_or("expected a day; for times give --from and --to")?;
    let next = date.succ_opt().ok_or("lies after all dates")?;
    Ok([date, next].map(|date| date.to_string()))
}

/// The time of `--since`: a date or time, or how long ago, with or without a minus sign. Days begin
/// at midnight in UTC.
pub(crate) fn parse_since(text: &str, now: DateTime<Utc>) -> Result<String, String> {
    let text = trimmed(text);
    match Ago::parse(text).or_else(|| Ago::parse(&format!("-{text}"))) {
        Some(ago) => ago?.resolve(now, Tz::UTC),
        None => parse_bound(text, Tz::UTC).map(|_| text.to_owned()).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
#[path = "dates_tests.rs"]
mod tests;
