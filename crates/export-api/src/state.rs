//! What every request handler can reach.

use std::num::NonZeroU32;

use export_s3::ResultBucket;
use export_source::Catalog;
use export_store::{Changes, JobStore};
use export_webhooks::Webhooks;

use crate::auth::Authenticator;
use crate::http::limits::Limits;
use crate::jobs::accepting::Acceptor;
use crate::jobs::admission::Admission;
use crate::jobs::audit::Audit;
use crate::jobs::queue::Queue;
use crate::jobs::sharing::Sharing;
use crate::tasks::dispatcher::Wake;

/// Shared by all requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiState {
    /// The truth about jobs.
    pub jobs: JobStore,
    /// Writes new ones.
    pub acceptor: Acceptor,
    /// Whether there is room for them.
    pub admission: Admission,
    /// Where those stand that wait.
    pub queue: Queue,
    /// Tells when a job may have changed.
    pub changes: Changes,
    /// The vehicles there are.
    pub catalog: Catalog,
    /// Has new ones released to the workers.
    pub dispatch: Wake,
    /// Signs download links.
    pub results: ResultBucket,
    /// Finds out who is calling.
    pub auth: Authenticator,
    /// Sends webhooks, where that is configured.
    pub webhooks: Option<Webhooks>,
    /// Notes what callers did.
    pub audit: Audit,
    /// What one caller may have.
    pub limits: Limits,
    /// Whose results new jobs may share.
    pub sharing: Sharing,
    /// Attempts that a new job may have.
    pub max_attempts: NonZeroU32,
    /// What `Location` begins with; empty for relative ones.
    pub public_base_url: String,
}
