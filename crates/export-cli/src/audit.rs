//! Entries of the audit log for what an operator does with the command line.

use chrono::Utc;
use export_core::Tenant;
use export_core::key::KeyId;
use export_store::{AuditAction, AuditEntry};

/// The entry of an action on a tenant, or on one of its keys.
pub(crate) fn entry(
    action: AuditAction,
    tenant: &Tenant,
    key_id: Option<&KeyId>,
    outcome: &'static str,
) -> AuditEntry {
    AuditEntry {
        at: Utc::now(),
        tenant: tenant.clone(),
        principal: "cli".to_owned(),
        action,
        job_id: None,
        object: None,
        key_id: key_id.cloned(),
        request_id: None,
        remote_address: None,
        outcome,
    }
}
