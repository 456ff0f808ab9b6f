//! Writes audit entries about the actions of callers.
//!
//! Order. A job is created or cancelled first, and its entry is written afterwards: if that fails,
//! the entry goes to the program's log. A download link is given out only after its entry is
//! written.
//!
//! Repetitions. Clients poll jobs, repeat requests and resume downloads. What a caller repeats
//! within [`REPETITION`] has one entry, so that a client in a loop does not fill the database.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::Utc;
use export_core::access::Principal;
use export_core::{JobId, Tenant, causes};
use export_store::{AuditAction, AuditEntry, AuditError, AuditLog};
use moka::sync::Cache;
use tracing::error;

use crate::http::client_address::Peer;
use crate::http::request_id::REQUEST_ID;

/// Time in which a repetition has no entry of its own. Links are valid for longer than this.
const REPETITION: Duration = Duration::from_mins(10);
/// Maximum number of remembered entries: a few megabytes. Beyond it, some repetitions have entries.
const MAX_REMEMBERED: u64 = 20_000;

/// Writes audit entries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit {
    log: AuditLog,
    /// Entries of the last [`REPETITION`] that a caller can repeat at will.
    recent: Cache<Repeatable, ()>,
}

/// What entries of a repeated request have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Repeatable {
    tenant: Tenant,
    principal: String,
    action: AuditAction,
    job_id: JobId,
    object: Option<String>,
}

/// The request id and the client's address, for an audit entry.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    request_id: Option<String>,
    remote_address: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Trail {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let request_id = parts.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let remote = parts.extensions.get::<Peer>();
        Ok(Self {
            request_id: request_id.map(str::to_owned),
            remote_address: remote.map(|peer| peer.address().to_string()),
        })
    }
}

impl Audit {
    /// Writes into `log`.
    pub fn new(log: AuditLog) -> Self {
        let recent = Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REPETITION).build();
        Self { log, recent }
    }

    /// Records that the caller created or cancelled a job; also if its cancellation was only
    /// requested.
    pub async fn record(
        &self,
        principal: &Principal,
        action: AuditAction,
        job_id: JobId,
        trail: &Trail,
        outcome: &'static str,
    ) {
        let entry = entry(principal, action, job_id, trail, outcome);
        if let Err(error) = self.log.write(&entry).await {
            error!(%entry, error = %causes(&error), "failed to write an audit entry");
        }
    }

    /// Records that the caller repeated a request with an idempotency key, whose job exists.
    pub async fn accepted_before(&self, principal: &Principal, job_id: JobId, trail: &Trail) {
        let entry = entry(principal, AuditAction::ExportCreate, job_id, trail, "accepted before");
        if let Err(error) = self.write_once(&entry, principal, job_id).await {
            error!(%entry, error = %causes(&error), "failed to write an audit entry");
        }
    }

    /// Records that a download link is about to be given out, for the whole result or one object.
    ///
    /// # Errors
    /// If the entry cannot be written. The caller must not give out the link then.
    pub async fn downloaded(
        &self,
        principal: &Principal,
        job_id: JobId,
        object: Option<&str>,
        trail: &Trail,
    ) -> Result<(), AuditError> {
        let mut entry = entry(principal, AuditAction::ExportDownload, job_id, trail, "link given");
        entry.object = object.map(str::to_owned);
        self.write_once(&entry, principal, job_id).await
    }

    /// Records that links are about to be given out with a job.
    ///
    /// # Errors
    /// If the entry cannot be written. The caller must not give out the links then.
    pub async fn linked(
        &self,
        principal: &Principal,
        job_id: JobId,
        trail: &Trail,
    ) -> Result<(), AuditError> {
        let entry = entry(principal, AuditAction::ExportLink, job_id, trail, "links given");
        self.write_once(&entry, principal, job_id).await
    }

    /// Writes an entry, unless the same caller has the same one within [`REPETITION`].
    async fn write_once(
        &self,
        entry: &AuditEntry,
        principal: &Principal,
        job_id: JobId,
    ) -> Result<(), AuditError> {
        let key = Repeatable {
            tenant: principal.tenant.clone(),
            principal: principal.name.clone(),
            action: entry.action,
            job_id,
            object: entry.object.clone(),
        };
        if self.recent.contains_key(&key) {
            return Ok(());
        }
        self.log.write(entry).await?;
        self.recent.insert(key, ());
        Ok(())
    }
}

fn entry(
    principal: &Principal,
    action: AuditAction,
    job_id: JobId,
    trail: &Trail,
    outcome: &'static str,
) -> AuditEntry {
    AuditEntry {
        at: Utc::now(),
        tenant: principal.tenant.clone(),
        principal: principal.name.clone(),
        action,
        job_id: Some(job_id),
        object: None,
        key_id: None,
        request_id: trail.request_id.clone(),
        remote_address: trail.remote_address.clone(),
        outcome,
    }
}
