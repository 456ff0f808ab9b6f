//! The audit log, in `audit`: who did what, written and never changed. The API may insert there and do nothing else.
//!
//! Entries that come while an insert is on its way are inserted together by the next one: under load many requests share
//! one journalled write, and each still waits for the one that has its entry.

use std::fmt;
use std::sync::Arc;

use bson::{DateTime, Document, doc};
use chrono::Utc;
use export_core::key::KeyId;
use export_core::{JobId, Tenant};
use export_mongo::StoreError;
use export_mongo::client::{MongoClient, bounded, durable};
use mongodb::Collection;
use tokio::sync::{mpsc, oneshot};

use crate::jobs::JobStore;
use crate::schema::index;

/// Most entries that wait for their insert: more than requests are served at a time, and a few megabytes.
const QUEUE: usize = 4_096;
/// Most entries of one insert: far below what one message of MongoDB holds.
const BATCH: usize = 500;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// A job was accepted.
    ExportCreate,
    /// A job was to end.
    ExportCancel,
    /// A link was given by an address for downloads.
    ExportDownload,
    /// Links were given with the job.
    ExportLink,
    /// A key was made.
    KeyCreate,
    /// A key was ended.
    KeyRevoke,
}

impl AuditAction {
    /// Its name, as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExportCreate => "export.create",
            Self::ExportCancel => "export.cancel",
            Self::ExportDownload => "export.download",
            Self::ExportLink => "export.link",
            Self::KeyCreate => "key.create",
            Self::KeyRevoke => "key.revoke",
        }
    }
}

/// Who did what, when, and what came of it.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// When, by the clock of whoever writes it.
    pub at: chrono::DateTime<Utc>,
    /// Whose it is.
    pub tenant: Tenant,
    /// Who did it.
    pub principal: String,
    /// What was done.
    pub action: AuditAction,
    /// The job that it was done to.
    pub job_id: Option<JobId>,
    /// The one object of its result that it was done to.
    pub object: Option<String>,
    /// The key that it was done to.
    pub key_id: Option<KeyId>,
    /// The request's id, as in the log.
    pub request_id: Option<String>,
    /// Where the request came from.
    pub remote_address: Option<String>,
    /// What came of it.
    pub outcome: &'static str,
}

impl fmt::Display for AuditEntry {
    /// For the log, where it could not be written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", document(self))
    }
}

/// An entry was not written, or nobody knows whether it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// MongoDB did not take it.
    #[error("the audit log could not be written")]
    NotWritten(#[source] Arc<StoreError>),
    /// Too many wait already.
    #[error("{QUEUE} entries wait for the audit log already")]
    Full,
    /// The task that writes has ended.
    #[error("the audit log is closed")]
    Closed,
}

struct Waiting {
    entry: Document,
    written: oneshot::Sender<Result<(), AuditError>>,
}

/// The collection `audit` of the jobs' database. Cheap to clone; its task ends with the last of them.
#[derive(Clone, Debug)]
pub struct AuditLog {
    queue: mpsc::Sender<Waiting>,
}

impl AuditLog {
    /// The log in this database. Starts the task that writes it, so it needs a runtime.
    pub fn start(mongo: &MongoClient, database: &str) -> Self {
        let entries = mongo.client().database(database).collection_with_options("audit", durable());
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write_batches(entries, waiting));
        Self { queue }
    }

    /// Writes an entry. When this returns, it survives whatever dies next.
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

async fn write_batches(entries: Collection<Document>, mut queue: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let (documents, waiting): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|waiting| (waiting.entry, waiting.written)).unzip();
        let entries = entries.clone();
        let inserted = bounded("write the audit log", async move {
            // Each for itself: one that is refused must not keep the others out.
            entries.insert_many(documents).ordered(false).await
        });
        let outcome = inserted.await.map(drop).map_err(|error| AuditError::NotWritten(Arc::new(error)));
        for written in waiting {
            // Whoever has gone meanwhile does not mind.
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

impl JobStore {
    /// Makes what questions about the log need.
    pub(crate) async fn index_audit(&self) -> Result<(), StoreError> {
        let database = self.jobs.client().database(&self.jobs.namespace().db);
        let indexes =
            [index("byTenant", doc! { "tenant": 1, "at": -1 }), index("byJob", doc! { "jobId": 1, "at": 1 })];
        bounded("create the indexes of audit", async move {
            database.collection::<Document>("audit").create_indexes(indexes).await
        })
        .await
        .map(drop)
    }
}
