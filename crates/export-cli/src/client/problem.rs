//! Problems (RFC 9457) as people read them: what is wrong, where, and what to do.

use std::fmt::{self, Write as _};

use serde::Deserialize;

use super::answer::Answer;
use super::console::shown;

/// Most entries of `errors[]` that are shown: the first ones tell what is wrong.
const MAX_SHOWN: usize = 20;

/// What an API answered instead of what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    /// The last part of `type`, such as `unknown-job`.
    pub(crate) kind: String,
    title: String,
    detail: String,
    errors: Vec<FieldError>,
    request_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FieldError {
    /// Where in the body it is.
    #[serde(default)]
    pointer: Option<String>,
    /// Or in which parameter of the query.
    #[serde(default)]
    parameter: Option<String>,
    #[serde(default)]
    detail: String,
    /// What the pointer is on this command line.
    #[serde(skip)]
    option: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    detail: String,
    errors: Vec<FieldError>,
}

impl Problem {
    /// Of an answer that is no success. What is no problem document (a proxy's page) is told by its status.
    pub(super) fn of(answer: &Answer) -> Self {
        let body: Option<Body> = serde_json::from_slice(&answer.body).ok();
        let body = body.filter(|body| !body.title.is_empty()).unwrap_or_else(|| Body {
            title: format!("{} answered {}", answer.place, answer.status),
            detail: "The answer is no problem document, so something else than the API may have given it."
                .to_owned(),
            ..Body::default()
        });
        Self {
            status: answer.status.as_u16(),
            kind: body.kind.rsplit(':').next().unwrap_or_default().to_owned(),
            title: body.title,
            detail: body.detail,
            errors: body.errors,
            request_id: answer.header("x-request-id").map(str::to_owned),
        }
    }

    /// Gives each entry of `errors[]` the option that it is about, where there is one.
    pub(crate) fn name_options(&mut self, option: impl Fn(&str) -> Option<String>) {
        for error in &mut self.errors {
            error.option = error.pointer.as_deref().and_then(&option);
        }
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

    /// What to do, where the problem itself does not say it in terms of the command line.
    fn advice(&self) -> Option<&'static str> {
        Some(match (self.status, self.kind.as_str()) {
            (401, _) => {
                "set EXPORTS_API_KEY to a valid key, or EXPORTS_API_KEY_FILE to a file that holds one"
            }
            (403, _) => "use a key that may do this; whoever runs the service makes keys",
            (404, "unknown-job") => "`exports list` shows the exports that your key may see",
            (404 | 405, _) => "is EXPORTS_API_URL right, and is the service as new as this program?",
            (409, "already-ended") => "nothing is left to be cancelled; `exports get` shows how it ended",
            (410, _) => "create the export again",
            (422, "idempotency-key-taken") => "give another --idempotency-key, or leave it out",
            (429, _) => "try again later, or let --retry-for be longer",
            (500, _) => "tell whoever runs the service the request id",
            (502..=504, _) => "try again later; if it stays so, tell whoever runs the service",
            _ => return None,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = shown(&self.title);
        if self.errors.is_empty() {
            if !self.detail.is_empty() {
                write!(text, ": {}", shown(&self.detail))?;
            }
        } else {
            for error in self.errors.iter().take(MAX_SHOWN) {
                let place =
                    [&error.option, &error.pointer, &error.parameter].into_iter().find_map(Option::as_deref);
                write!(text, "\n  {}: {}", shown(place.unwrap_or("request")), shown(&error.detail))?;
            }
            if self.errors.len() > MAX_SHOWN {
                write!(text, "\n  … and {} more", self.errors.len() - MAX_SHOWN)?;
            }
        }
        if let Some(advice) = self.advice() {
            write!(text, "\n  {advice}")?;
        }
        if let Some(id) = &self.request_id {
            write!(text, "\n  request id: {}", shown(id))?;
        }
        f.write_str(&text)
    }
}
