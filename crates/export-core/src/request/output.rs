//! The output options of a request.
//!
//! An option without effect is rejected instead of ignored, because the client expects it to have
//! one.

use serde_json::{Map, Value};

use super::{FieldError, pointer_to};
use crate::TimeRange;
use crate::output::{Fill, OPTIONS, OutputOptions, Resampling};

/// Maximum number of rows of a vehicle with `fill`: one row per second for thirty years.
///
/// Without this limit a small mistake in `stepMs` would fill the bucket with repeated values.
/// Without `fill` the number of points bounds the rows.
pub const MAX_FILLED_ROWS: u64 = 1_000_000_000;

/// Parses the options. The result is valid only if no error was added.
pub(super) fn parse(
    fields: &Map<String, Value>,
    range: Option<TimeRange>,
    errors: &mut Vec<FieldError>,
) -> OutputOptions {
    // Null is the same as absent.
    let given = OPTIONS.iter().filter_map(|option| {
        fields.get(option.name).filter(|value| !value.is_null()).map(|value| (option, value))
    });
    let (valid, invalid): (Vec<_>, Vec<_>) =
        given.clone().partition(|(option, value)| option.values.contain(value));
    for (option, _) in &invalid {
        errors.push(FieldError::new(pointer_to(option.name), option.values.expected()));
    }
    let valid = valid.into_iter().map(|(option, value)| (option.name.to_owned(), value.clone()));
    let mut output: OutputOptions =
        serde_json::from_value(Value::Object(valid.collect())).expect("values of the options");
    output.fill = output.step_ms.map(|_| output.fill.unwrap_or_default());

    // Where an option is invalid, the options that depend on it are not refused because of it.
    let is_invalid = |name| invalid.iter().any(|(option, _)| option.name == name);
    for (option, _) in given {
        let unmet = option.unmet(&output).find(|need| !is_invalid(need.option));
        errors.extend(unmet.map(|need| FieldError::new(pointer_to(option.name), need.otherwise)));
    }
    if let (Some(resampling), Some(range)) = (output.resampling(), range) {
        check_filled_rows(resampling, range, errors);
    }
    output
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
