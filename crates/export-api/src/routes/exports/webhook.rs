//! Whether this service sends anything to the address that a request names.

use export_core::request::{ExportRequest, FieldError};
use export_webhooks::Webhooks;

use crate::http::problem::Problem;

/// Refuses an address to which nothing would ever be sent: now, rather than when the job has ended and nobody looks.
pub(super) fn check(webhooks: Option<&Webhooks>, request: &ExportRequest) -> Result<(), Problem> {
    let Some(url) = &request.webhook_url else { return Ok(()) };
    let detail = match webhooks {
        None => "this service sends no webhooks: its operator has set no WEBHOOK_SIGNING_KEY; leave it out"
            .to_owned(),
        Some(webhooks) => match webhooks.refusal(url) {
            None => return Ok(()),
            Some(refusal) => refusal.to_string(),
        },
    };
    Err(Problem::invalid(vec![FieldError { pointer: "/webhookUrl".to_owned(), detail }]))
}
