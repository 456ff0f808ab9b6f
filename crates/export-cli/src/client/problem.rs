//! Problem documents (RFC 9457) as messages: what is wrong, where, and what to do.

use std::fmt::{self, Write as _};

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Map;

use crate::print::sanitized;
use crate::request_args::{flag_of_field, flag_of_pointer, in_words_of_flags};

/// Most entries of `errors[]` that are shown.
const MAX_SHOWN: usize = 20;

/// An error answer of the API.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    #[serde(skip)]
    status: u16,
    /// The last part of `type`, such as `unknown-job`.
    #[serde(rename = "type")]
    kind: String,
    title: String,
    detail: String,
    errors: Vec<FieldError>,
    #[serde(skip)]
    request_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FieldError {
    /// JSON pointer into the body,
    pointer: Option<String>,
    /// or name of a query parameter.
    parameter: Option<String>,
    #[serde(default)]
    detail: String,
    /// The flag of this command line that the pointer is about.
    #[serde(skip)]
    flag: Option<String>,
}

impl FieldError {
    /// What the error is about, as a flag.
    fn place(&self) -> String {
        let of_pointer = || flag_of_pointer(self.pointer.as_deref()?, &Map::new());
        let of_parameter = || self.parameter.as_deref().map(flag_of_field);
        let place = self.flag.clone().or_else(of_pointer).or_else(of_parameter);
        place.unwrap_or_else(|| "request".to_owned())
    }
}

impl Problem {
    /// Parses an answer that is not a success. Of an answer that is not a problem document (a
    /// proxy's page) it keeps the status.
    pub(super) fn parse(url: &str, status: StatusCode, body: &[u8], request_id: Option<&str>) -> Self {
        let parsed: Option<Self> = serde_json::from_slice(body).ok();
        let problem = parsed.filter(|problem| !problem.title.is_empty()).unwrap_or_else(|| Self {
            title: format!("{url} answered {status}"),
            detail: "The answer is not a problem document, so it may come from a proxy instead of the API."
                .to_owned(),
            ..Self::default()
        });
        Self {
            status: status.as_u16(),
            kind: problem.kind.rsplit(':').next().unwrap_or_default().to_owned(),
            request_id: request_id.map(str::to_owned),
            ..problem
        }
    }

    /// Gives each entry of `errors[]` the flag that its pointer is about, if there is one.
    pub(crate) fn name_flags(&mut self, flag: impl Fn(&str) -> Option<String>) {
        for error in &mut self.errors {
            error.flag = error.pointer.as_deref().and_then(&flag);
        }
    }

    /// Whether the request is refused, whatever is sent next.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.status, 400 | 404 | 409 | 410 | 413 | 422)
    }

    pub(super) fn exit_code(&self) -> i32 {
        match self.status {
            400 | 413 | 415 | 422 => 2,
            401 | 403 => 5,
            404 => 4,
            410 => 3,
            408 | 429 | 502 | 503 | 504 => 6,
            _ => 1,
        }
    }

    /// What the user can do, for problems that do not say it in terms of the command line.
    fn advice(&self) -> Option<&'static str> {
        Some(match (self.status, self.kind.as_str()) {
            (401, _) => {
                "set EXPORTS_API_KEY to a valid key, or EXPORTS_API_KEY_FILE to a file that holds one"
            }
            (403, _) => "use a key with the right for this; the operator of the service creates keys",
            (404, "unknown-job") => "`exports list` shows the exports that your key may see",
            (404 | 405, _) => "is EXPORTS_API_URL right, and is the service as new as this program?",
            (409, "already-ended") => "there is nothing to cancel; `exports get` shows how it ended",
            (410, _) => "create the export again",
            (422, "idempotency-key-taken") => "give another --idempotency-key, or leave it out",
            (429, _) => "try again later, or give a longer --retry-for",
            (500, _) => "report the request id to the operator of the service",
            (502..=504, _) => {
                "try again later; if it keeps failing, report it to the operator of the service"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = sanitized(&self.title);
        if self.errors.is_empty() {
            if !self.detail.is_empty() {
                write!(text, ": {}", sanitized(&in_words_of_flags(&self.detail)))?;
            }
        } else {
            for error in self.errors.iter().take(MAX_SHOWN) {
                let detail = in_words_of_flags(&error.detail);
                write!(text, "\n  {}: {}", sanitized(&error.place()), sanitized(&detail))?;
            }
            if self.errors.len() > MAX_SHOWN {
                write!(text, "\n  … and {} more", self.errors.len() - MAX_SHOWN)?;
            }
        }
        if let Some(advice) = self.advice() {
            write!(text, "\n  {advice}")?;
        }
        if let Some(id) = &self.request_id {
            write!(text, "\n  request id: {}", sanitized(id))?;
        }
        f.write_str(&text)
    }
}
