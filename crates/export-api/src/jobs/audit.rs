//! What callers did, for the audit log.
//!
//! A job that is durable stays so whether its entry can be written or not, and so does a cancellation; a file is given to
//! nobody without one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use chrono::Utc;
use export_core::access::Principal;
use export_core::{JobId, Tenant, causes};
use export_store::{AuditAction, AuditEntry, AuditError, AuditLog};
use moka::sync::Cache;
use tracing::error;

use crate::http::problem::Problem;
use crate::http::request_id::REQUEST_ID;

/// Links that come with a job are noted once in this time for each caller: clients ask for a job again and again, and the links
/// work for longer than that.
const LINKS_REST: Duration = Duration::from_mins(10);
/// Most pairs of callers and jobs that are remembered for it; beyond, some entries are written more often.
const LINKS_REMEMBERED: u64 = 10_000;

/// Writes what callers did. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit {
    log: AuditLog,
    /// Callers and jobs whose links were noted within [`LINKS_REST`].
    links: Cache<(Tenant, String, JobId), ()>,
}

/// By which request something was done.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    request_id: Option<String>,
    remote_address: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Trail {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let request_id = parts.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let remote = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self {
            request_id: request_id.map(str::to_owned),
            remote_address: remote.map(|ConnectInfo(address)| address.ip().to_string()),
        })
    }
}

impl Audit {
    /// Into this log.
    pub fn new(log: AuditLog) -> Self {
        let links = Cache::builder().max_capacity(LINKS_REMEMBERED).time_to_live(LINKS_REST).build();
        Self { log, links }
    }

    /// Notes that a job was accepted, now or before.
    pub async fn created(
        &self,
        tenant: &Tenant,
        principal: &str,
        job_id: JobId,
        trail: &Trail,
        outcome: &'static str,
    ) {
        self.note(entry(tenant, principal, AuditAction::ExportCreate, job_id, trail, outcome)).await;
    }

    /// Notes that a job was to end.
    pub async fn cancelled(
        &self,
        principal: &Principal,
        job_id: JobId,
        trail: &Trail,
        outcome: &'static str,
    ) {
        let (tenant, name) = (&principal.tenant, &principal.name);
        self.note(entry(tenant, name, AuditAction::ExportCancel, job_id, trail, outcome)).await;
    }

    /// Notes that a link is about to be given, to the whole result or to one object of it. Without this there is no link.
    pub async fn downloaded(
        &self,
        principal: &Principal,
        job_id: JobId,
        object: Option<&str>,
        trail: &Trail,
    ) -> Result<(), Problem> {
        let (tenant, name) = (&principal.tenant, &principal.name);
        let mut entry = entry(tenant, name, AuditAction::ExportDownload, job_id, trail, "link given");
        entry.object = object.map(str::to_owned);
        self.log.write(&entry).await.map_err(|error| Problem::unavailable(&error))
    }

    /// Notes that links are about to be given with the job, unless that was noted a moment ago.
    pub async fn linked(
        &self,
        principal: &Principal,
        job_id: JobId,
        trail: &Trail,
    ) -> Result<(), AuditError> {
        let (tenant, name) = (&principal.tenant, &principal.name);
        let key = (tenant.clone(), name.clone(), job_id);
        if self.links.contains_key(&key) {
            return Ok(());
        }
        self.log.write(&entry(tenant, name, AuditAction::ExportLink, job_id, trail, "links given")).await?;
        self.links.insert(key, ());
        Ok(())
    }

    /// Writes the entry, or all of it into our own log.
    async fn note(&self, entry: AuditEntry) {
        if let Err(error) = self.log.write(&entry).await {
            error!(%entry, error = %causes(&error), "an audit entry could not be written");
        }
    }
}

fn entry(
    tenant: &Tenant,
    principal: &str,
    action: AuditAction,
    job_id: JobId,
    trail: &Trail,
    outcome: &'static str,
) -> AuditEntry {
    AuditEntry {
        at: Utc::now(),
        tenant: tenant.clone(),
        principal: principal.to_owned(),
        action,
        job_id: Some(job_id),
        object: None,
        key_id: None,
        request_id: trail.request_id.clone(),
        remote_address: trail.remote_address.clone(),
        outcome,
    }
}
