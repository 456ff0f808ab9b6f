//! Converts events of jobs into deliveries of the outbox, and reads deliveries.

use bson::{Bson, DateTime, Document, doc};
use export_core::event::{Event, EventKind};
use export_core::request::WebhookUrl;
use export_core::{JobId, Tenant};
use export_mongo::StoreError;

use super::{Channel, Delivery};
use crate::jobs::document::to_chrono;

/// An event of a job, with its deliveries.
pub(super) struct Announced {
    pub(super) job_id: String,
    pub(super) kind: EventKind,
    pub(super) deliveries: Vec<Document>,
}

/// The events of a job. An unreadable event stays in the job and is logged.
pub(super) fn announced(job: &Document) -> Vec<Announced> {
    let entries = job.get_array("unannounced").map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(|entry| announcement(job, entry)).collect()
}

fn announcement(job: &Document, entry: &Bson) -> Option<Announced> {
    let read = || {
        let entry = entry.as_document()?;
        let kind = bson::deserialize_from_bson::<EventKind>(entry.get("kind")?.clone()).ok()?;
        let job_id = job.get_str("_id").ok()?;
        let event = Event {
            kind,
            job_id: job_id.parse().ok()?,
            tenant: job.get_str("tenant").ok()?.parse().ok()?,
            occurred_at: to_chrono(*entry.get_datetime("at").ok()?),
        };
        let trace_parent = job.get_str("traceparent").ok();
        let webhook_url: Option<WebhookUrl> = job.get_str("webhookUrl").ok().and_then(|url| url.parse().ok());
        let mut deliveries = vec![delivery(&event, Channel::Amqp, trace_parent, None)];
        if webhook_url.is_some() {
            deliveries.push(delivery(&event, Channel::Webhook, trace_parent, webhook_url.as_ref()));
        }
        Some(Announced { job_id: job_id.to_owned(), kind, deliveries })
    };
    let announced = read();
    if announced.is_none() {
        tracing::error!(job.id = ?job.get("_id"), "unreadable event of a job");
    }
    announced
}

fn delivery(
    event: &Event,
    channel: Channel,
    trace_parent: Option<&str>,
    webhook_url: Option<&WebhookUrl>,
) -> Document {
    let occurred_at = DateTime::from_millis(event.occurred_at.timestamp_millis());
    doc! {
        "_id": format!("{}/{}", event.id(), channel.as_str()),
        "channel": channel.as_str(),
        "kind": event.kind.as_str(),
        "jobId": event.job_id.to_string(),
        "tenant": event.tenant.as_str(),
        "occurredAt": occurred_at,
        "traceparent": trace_parent,
        "url": webhook_url.map(WebhookUrl::as_str),
        "host": webhook_url.map(|url| url.host().to_string()),
        "attempts": 0_i64,
        // A past time of the server's clock: due at once.
        "dueAt": occurred_at,
        "settledAt": null,
    }
}

pub(super) fn read(document: &Document) -> Result<Delivery, StoreError> {
    let read = || {
        let text = |field: &str| document.get_str(field).ok();
        let kind = bson::deserialize_from_bson::<EventKind>(document.get("kind")?.clone()).ok()?;
        let event = Event {
            kind,
            job_id: text("jobId")?.parse::<JobId>().ok()?,
            tenant: text("tenant")?.parse::<Tenant>().ok()?,
            occurred_at: to_chrono(*document.get_datetime("occurredAt").ok()?),
        };
        Some(Delivery {
            id: text("_id")?.to_owned(),
            attempts: document.get_i64("attempts").ok()?,
            claimed_at: to_chrono(*document.get_datetime("claimedAt").ok()?),
            event,
            trace_parent: text("traceparent").and_then(|parent| parent.parse().ok()),
            webhook_url: text("url").and_then(|url| url.parse().ok()),
        })
    };
    read().ok_or_else(|| StoreError::Corrupt("delivery in the outbox".to_owned()))
}
