//! The options of a request: what its result looks like.
//!
//! An option that would change nothing is refused instead of ignored: whoever says it expects it to do something.

use std::num::NonZeroU64;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::{FieldError, pointer_to};
use crate::TimeRange;
use crate::output::{
    Archive, Compression, CsvGuard, Fill, Format, LONGEST_STEP_MS, OutputOptions, Resampling, TimeFormat,
    UnknownValue,
};

/// Most rows of a vehicle when every interval has one: thirty years by the second. A small mistake in `stepMs` would
/// otherwise fill the bucket with repeated values; without `fill` the rows are bounded by the points there are.
pub const MAX_FILLED_ROWS: u64 = 1_000_000_000;

/// What a request says about an option. Null says nothing.
#[derive(Clone, Copy)]
enum Said<T> {
    Nothing,
    /// Something that is no value of the option; the error is noted already.
    Wrong,
    Value(T),
}

impl<T: Copy + Default> Said<T> {
    /// The value, for options whose errors are noted already.
    fn or_default(self) -> T {
        match self {
            Self::Value(value) => value,
            Self::Nothing | Self::Wrong => T::default(),
        }
    }
}

impl<T> Said<T> {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// Reads the options. What is returned counts only when no error was added.
pub(super) fn parse(
    fields: &Map<String, Value>,
    range: Option<TimeRange>,
    errors: &mut Vec<FieldError>,
) -> OutputOptions {
    let format = parse_choice::<Format>(fields, "format", errors);
    let archive = parse_choice::<Archive>(fields, "archive", errors);
    let compression = parse_choice::<Compression>(fields, "compression", errors);
    let time_format = parse_choice::<TimeFormat>(fields, "timeFormat", errors);
    let csv_guard = parse_choice::<CsvGuard>(fields, "csvGuard", errors);
    let step_ms = parse_step(fields, errors);
    let fill = parse_choice::<Fill>(fields, "fill", errors);

    // Where the format or the archive is wrong itself, only what no value of it would put right is told.
    let mut refuse = |name, detail: &str| errors.push(FieldError::new(pointer_to(name), detail));
    if let Said::Value(Format::Parquet) = format {
        if !compression.is_nothing() {
            refuse(
                "compression",
                "means nothing for parquet, which compresses its columns itself; leave it out",
            );
        }
        if !time_format.is_nothing() {
            refuse("timeFormat", "means nothing for parquet, whose times are timestamps; leave it out");
        }
        if !csv_guard.is_nothing() {
            refuse(
                "csvGuard",
                "means nothing for parquet, which no spreadsheet takes for formulas; leave it out",
            );
        }
    } else if let Said::Nothing | Said::Value(Archive::Zip) = archive
        && !compression.is_nothing()
    {
        refuse(
            "compression",
            "means nothing in a zip, which compresses its entries itself; leave it out, or ask for \"archive\": \"none\"",
        );
    }
    if step_ms.is_nothing() && !fill.is_nothing() {
        refuse(
            "fill",
            "means nothing without stepMs, the length of the intervals to fill; add it, or leave fill out",
        );
    }

    let resampling = match step_ms {
        Said::Value(step_ms) => Some(Resampling { step_ms, fill: fill.or_default() }),
        Said::Nothing | Said::Wrong => None,
    };
    if let (Some(resampling), Some(range)) = (resampling, range) {
        check_filled_rows(resampling, range, errors);
    }
    OutputOptions {
        format: format.or_default(),
        archive: archive.or_default(),
        compression: compression.or_default(),
        time_format: time_format.or_default(),
        csv_guard: csv_guard.or_default(),
        resampling,
    }
}

fn parse_choice<T>(fields: &Map<String, Value>, name: &str, errors: &mut Vec<FieldError>) -> Said<T>
where
    T: FromStr<Err = UnknownValue>,
{
    let text = match fields.get(name) {
        None | Some(Value::Null) => return Said::Nothing,
        Some(Value::String(text)) => text.as_str(),
        // No value is an empty text, so the error is the one of any other unknown value.
        Some(_) => "",
    };
    text.parse().map_or_else(
        |error: UnknownValue| {
            errors.push(FieldError::new(pointer_to(name), error.to_string()));
            Said::Wrong
        },
        Said::Value,
    )
}

fn parse_step(fields: &Map<String, Value>, errors: &mut Vec<FieldError>) -> Said<NonZeroU64> {
    let value = match fields.get("stepMs") {
        None | Some(Value::Null) => return Said::Nothing,
        Some(value) => value,
    };
    let step_ms = value.as_u64().filter(|step_ms| *step_ms <= LONGEST_STEP_MS).and_then(NonZeroU64::new);
    step_ms.map_or_else(
        || {
            let detail = format!(
                "expected a whole number of milliseconds from 1 to {LONGEST_STEP_MS}, such as 60000 for a row per minute"
            );
            errors.push(FieldError::new("/stepMs", detail));
            Said::Wrong
        },
        Said::Value,
    )
}

/// A filled export has a row for every interval, whether there are points or not.
fn check_filled_rows(resampling: Resampling, range: TimeRange, errors: &mut Vec<FieldError>) {
    let row_count = resampling.interval_count(range);
    if resampling.fill == Fill::Previous && row_count > MAX_FILLED_ROWS {
        let detail = format!(
            "with fill previous this makes up to {row_count} rows for each vehicle; at most {MAX_FILLED_ROWS} are allowed: \
             ask for a longer step, a shorter range, or no fill"
        );
        errors.push(FieldError::new("/stepMs", detail));
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
