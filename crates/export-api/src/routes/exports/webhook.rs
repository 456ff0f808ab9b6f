//! Checks the webhook URL of a request.

use export_core::request::{ExportRequest, FieldError};
use export_webhooks::Webhooks;

use crate::http::problem::Problem;

/// Refuses a URL to which the service would never send: better when the job is created than when it
/// ends and no one is watching.
pub(super) fn check(webhooks: Option<&Webhooks>, request: &ExportRequest) -> Result<(), Problem> {
    let Some(url) = &request.webhook_url else { return Ok(()) };
    let detail = match webhooks {
        None => "this service sends no webhooks, because its operator has not set WEBHOOK_SIGNING_KEY; leave webhookUrl out"
            .to_owned(),
        Some(webhooks) => match webhooks.refusal(url) {
            None => return Ok(()),
            Some(refusal) => refusal.to_string(),
        },
    };
    Err(Problem::invalid(vec![FieldError { pointer: "/webhookUrl".to_owned(), detail }]))
}
