//! The output options of a request.
//!
//! An option without effect is rejected instead of ignored, because the client expects it to have
//! one.

use serde_json::{Map, Value};

use super::{FieldError, pointer_to};
use crate::output::{OPTIONS, OutputOptions};

/// Parses the options. The result is valid only if no error was added.
pub(super) fn parse(fields: &Map<String, Value>, errors: &mut Vec<FieldError>) -> OutputOptions {
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
    output
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
