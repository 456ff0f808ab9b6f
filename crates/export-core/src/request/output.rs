//! The output options of a request.
//!
//! An option without effect is rejected instead of ignored, because the client expects it to have
//! one.

use std::num::NonZeroU64;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::{FieldError, pointer_to};
use crate::TimeRange;
use crate::output::{
    Archive, Compression, CsvGuard, Fill, Format, LONGEST_STEP_MS, OutputOptions, Resampling, TimeFormat,
    UnknownValue,
};

/// Maximum number of rows of a vehicle with `fill`: one row per second for thirty years.
///
/// Without this limit a small mistake in `stepMs` would fill the bucket with repeated values.
/// Without `fill` the number of points bounds the rows.
pub const MAX_FILLED_ROWS: u64 = 1_000_000_000;

/// The value of an option in a request. Null means absent.
#[derive(Clone, Copy)]
enum Field<T> {
    Absent,
    /// Not a value of the option; the error was reported.
    Invalid,
    Value(T),
}

impl<T: Copy + Default> Field<T> {
    /// The value, or the default where it is absent or invalid.
    fn or_default(self) -> T {
        match self {
            Self::Value(value) => value,
            Self::Absent | Self::Invalid => T::default(),
        }
    }
}

impl<T> Field<T> {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// Parses the options. The result is valid only if no error was added.
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

    // With an invalid format or archive, only errors that no valid value would remove are reported.
    let mut refuse = |name, detail: &str| errors.push(FieldError::new(pointer_to(name), detail));
    if let Field::Value(Format::Parquet) = format {
        if !compression.is_absent() {
            refuse(
                "compression",
                "means nothing for parquet, which compresses its columns itself; leave it out",
            );
        }
        if !time_format.is_absent() {
            refuse("timeFormat", "means nothing for parquet, whose times are timestamps; leave it out");
        }
        if !csv_guard.is_absent() {
            refuse(
                "csvGuard",
                "means nothing for parquet, which no spreadsheet takes for formulas; leave it out",
            );
        }
    } else if let Field::Absent | Field::Value(Archive::Zip) = archive
        && !compression.is_absent()
    {
        refuse(
            "compression",
            "means nothing in a zip, which compresses its entries itself; leave it out, or ask for \"archive\": \"none\"",
        );
    }
    if step_ms.is_absent() && !fill.is_absent() {
        refuse(
            "fill",
            "means nothing without stepMs, the length of the intervals to fill; add it, or leave fill out",
        );
    }

    let resampling = match step_ms {
        Field::Value(step_ms) => Some(Resampling { step_ms, fill: fill.or_default() }),
        Field::Absent | Field::Invalid => None,
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

fn parse_choice<T>(fields: &Map<String, Value>, name: &str, errors: &mut Vec<FieldError>) -> Field<T>
where
    T: FromStr<Err = UnknownValue>,
{
    let text = match fields.get(name) {
        None | Some(Value::Null) => return Field::Absent,
        Some(Value::String(text)) => text.as_str(),
        // No option has an empty value, so this gives the error of an unknown value.
        Some(_) => "",
    };
    text.parse().map_or_else(
        |error: UnknownValue| {
            errors.push(FieldError::new(pointer_to(name), error.to_string()));
            Field::Invalid
        },
        Field::Value,
    )
}

fn parse_step(fields: &Map<String, Value>, errors: &mut Vec<FieldError>) -> Field<NonZeroU64> {
    let value = match fields.get("stepMs") {
        None | Some(Value::Null) => return Field::Absent,
        Some(value) => value,
    };
    let step_ms = value.as_u64().filter(|step_ms| *step_ms <= LONGEST_STEP_MS).and_then(NonZeroU64::new);
    step_ms.map_or_else(
        || {
            let detail = format!(
                "expected a whole number of milliseconds from 1 to {LONGEST_STEP_MS}, such as 60000 for a row per minute"
            );
            errors.push(FieldError::new("/stepMs", detail));
            Field::Invalid
        },
        Field::Value,
    )
}

/// A filled export has a row for every interval, with or without points.
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
