//! The fields of a request that only describe the job: its label, and the job that it repeats. The
//! result does not depend on them.

use serde_json::{Map, Value};

use super::FieldError;
use crate::JobId;
use crate::id::{NameError, text_name};
use crate::names::trimmed;

/// Maximum length of a label, in characters.
pub const MAX_LABEL_CHARS: usize = 100;

/// A text that is not a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {MAX_LABEL_CHARS} characters on one line, without control characters")]
pub struct LabelError;

text_name!(
    /// A name that the caller gives a job, such as `weekly report`. It need not be unique.
    Label,
    LabelError,
    LabelError,
    |text| {
        (1..=MAX_LABEL_CHARS).contains(&text.chars().count())
            && !text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
    }
);

/// The label; absent or null is none. Spaces around it are not part of it.
pub(super) fn parse_label(fields: &Map<String, Value>, errors: &mut Vec<FieldError>) -> Option<Label> {
    let parsed = match fields.get("label") {
        None | Some(Value::Null) => return None,
        Some(Value::String(text)) => trimmed(text).parse(),
        Some(_) => Err(LabelError),
    };
    parsed.map_err(|error| errors.push(FieldError::new("/label", error.to_string()))).ok()
}

/// The id of the job that this one repeats; absent or null is none.
pub(super) fn parse_retry_of(fields: &Map<String, Value>, errors: &mut Vec<FieldError>) -> Option<JobId> {
    let detail = match fields.get("retryOf") {
        None | Some(Value::Null) => return None,
        Some(Value::String(text)) => match text.parse() {
            Ok(job_id) => return Some(job_id),
            Err(error) => NameError::to_string(&error),
        },
        Some(_) => "expected a string with the id of a job".to_owned(),
    };
    errors.push(FieldError::new("/retryOf", detail));
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::ExportRequest;

    fn parse(name: &str, value: &Value) -> Result<ExportRequest, Vec<FieldError>> {
        ExportRequest::parse(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", name: value }))
    }

    #[test]
    fn a_label_is_one_line_of_at_most_100_characters() {
        let hundred = "ü".repeat(MAX_LABEL_CHARS);
        for (text, expected) in
            [(" weekly report\n", "weekly report"), ("=1+1 ✓", "=1+1 ✓"), (&hundred, &hundred)]
        {
            let label = parse("label", &json!(text)).expect("a label").label;
            assert_eq!(label.as_ref().map(Label::as_str), Some(expected), "{text:?}");
        }
        assert_eq!(parse("label", &Value::Null).expect("no label").label, None);
        let long = "x".repeat(MAX_LABEL_CHARS + 1);
        for wrong in [
            json!(""),
            json!(" "),
            json!("a\nb"),
            json!("a\u{2028}b"),
            json!("\u{1b}[2J"),
            json!(7),
            json!(long),
        ] {
            let errors = parse("label", &wrong).expect_err("no label");
            assert_eq!(errors, [FieldError::new("/label", LabelError.to_string())], "{wrong}");
        }
    }

    #[test]
    fn a_retried_job_is_named_by_its_id() {
        let id = "01983c5e-7a01-7c3a-9d5e-0123456789ab";
        let request = parse("retryOf", &json!(id)).expect("an id");
        assert_eq!(request.retry_of, id.parse().ok());
        for wrong in [json!("0123456789ab"), json!(""), json!(7)] {
            let errors = parse("retryOf", &wrong).expect_err("no id");
            assert_eq!((errors.len(), errors[0].pointer.as_str()), (1, "/retryOf"), "{wrong}");
        }
    }
}
