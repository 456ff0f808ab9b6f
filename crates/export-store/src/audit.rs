//! The audit log in the collection `audit`: who did what. Entries are never changed; the API's role
//! may only insert.
//!
//! Entries that arrive during an insert are batched into the next one. Under load many requests
//! share one journalled write, and each request waits for the write that contains its entry.

use std::fmt;
use std::sync::Arc;

use bson::{DateTime, Document, doc};
use chrono::Utc;
use export_core::key::KeyId;
use export_core::{JobId, Tenant};
use export_mongo::StoreError;
use export_mongo::client::MongoClient;
use export_mongo::documents::{Documents, index};
use mongodb::{Collection, IndexModel};
use tokio::sync::{mpsc, oneshot};

/// Capacity of the queue of entries: more than the maximum number of concurrent requests, and a few
/// megabytes.
const QUEUE: usize = 4_096;
/// Maximum number of entries per insert, far below the size limit of a MongoDB message.
const BATCH: usize = 500;

/// An audited action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditAction {
    /// A job was created.
    ExportCreate,
    /// A job was cancelled, or its cancellation was requested.
    ExportCancel,
    /// A download endpoint answered with a link.
    ExportDownload,
    /// A job was read, and the answer contained download links.
    ExportLink,
    /// A key was created.
    KeyCreate,
    /// A key was revoked.
    KeyRevoke,
    /// The vehicles that a tenant may see at most were set.
    TenantLimit,
}

impl AuditAction {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExportCreate => "export.create",
            Self::ExportCancel => "export.cancel",
            Self::ExportDownload => "export.download",
            Self::ExportLink => "export.link",
            Self::KeyCreate => "key.create",
            Self::KeyRevoke => "key.revoke",
            Self::TenantLimit => "tenant.limit",
        }
    }
}

/// An entry of the audit log.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// The time of the action, by the clock of the process that writes the entry.
    pub at: chrono::DateTime<Utc>,
    /// The tenant.
    pub tenant: Tenant,
    /// The caller.
    pub principal: String,
    /// The action.
    pub action: AuditAction,
    /// The affected job.
    pub job_id: Option<JobId>,
    /// The affected object of the job's result.
    pub object: Option<String>,
    /// The affected key.
    pub key_id: Option<KeyId>,
    /// The request id, as in the log.
    pub request_id: Option<String>,
    /// The client's address.
    pub remote_address: Option<String>,
    /// The outcome.
    pub outcome: &'static str,
}

impl fmt::Display for AuditEntry {
    /// For the process log, when the entry could not be written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", document(self))
    }
}

/// An entry was not written, or it is unknown whether it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// The insert failed.
    #[error("writing the audit log failed")]
    NotWritten(#[source] Arc<StoreError>),
    /// The queue is full.
    #[error("the queue of the audit log is full ({QUEUE} entries)")]
    Full,
    /// The writing task has ended.
    #[error("the audit log is closed")]
    Closed,
}

struct Waiting {
    entry: Document,
    written: oneshot::Sender<Result<(), AuditError>>,
}

/// The audit log. Cheap to clone; its writing task ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct AuditLog {
    queue: mpsc::Sender<Waiting>,
}

impl AuditLog {
    /// The log in this database. Starts the writing task, so it must be called within a runtime.
    pub fn start(mongo: &MongoClient, database: &str) -> Self {
        let entries = Documents::new(mongo, database, "audit");
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write_batches(entries, waiting));
        Self { queue }
    }

    /// Writes an entry. When this returns `Ok`, the entry is on the journals of a majority.
    pub async fn write(&self, entry: &AuditEntry) -> Result<(), AuditError> {
        let (written, outcome) = oneshot::channel();
        let waiting = Waiting { entry: document(entry), written };
        self.queue.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AuditError::Full,
            mpsc::error::TrySendError::Closed(_) => AuditError::Closed,
        })?;
        outcome.await.unwrap_or(Err(AuditError::Closed))
    }
}

async fn write_batches(entries: Documents, mut queue: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let (documents, waiting): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|waiting| (waiting.entry, waiting.written)).unzip();
        // Unordered: a rejected entry must not stop the others.
        let insert = |entries: Collection<Document>| async move {
            entries.insert_many(documents).ordered(false).await.map(drop)
        };
        let inserted = entries.run("write the audit log", insert).await;
        let outcome = inserted.map_err(|error| AuditError::NotWritten(Arc::new(error)));
        for written in waiting {
            // Fails when the caller was cancelled.
            written.send(outcome.clone()).ok();
        }
    }
}

fn document(entry: &AuditEntry) -> Document {
    doc! {
        "at": DateTime::from_millis(entry.at.timestamp_millis()),
        "tenant": entry.tenant.as_str(),
        "principal": &entry.principal,
        "action": entry.action.as_str(),
        "jobId": entry.job_id.map(|id| id.to_string()),
        "object": &entry.object,
        "keyId": entry.key_id.as_ref().map(KeyId::as_str),
        "requestId": &entry.request_id,
        "remoteAddress": &entry.remote_address,
        "outcome": entry.outcome,
    }
}

/// The indexes of the collection, for questions about a tenant or a job.
pub(crate) fn indexes() -> [IndexModel; 2] {
    [index("byTenant", doc! { "tenant": 1, "at": -1 }), index("byJob", doc! { "jobId": 1, "at": 1 })]
}
