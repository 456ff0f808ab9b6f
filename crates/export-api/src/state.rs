//! The shared state of all request handlers.

use std::num::NonZeroU32;

use export_s3::ResultBucket;
use export_source::Catalog;
use export_store::{Changes, JobStore};
use export_webhooks::Webhooks;

use crate::auth::Authenticator;
use crate::http::failures::Failures;
use crate::http::hosts::OwnHosts;
use crate::http::limits::Limits;
use crate::jobs::accepting::Acceptor;
use crate::jobs::admission::Admission;
use crate::jobs::audit::Audit;
use crate::jobs::link_cache::LinkCache;
use crate::jobs::queue::Queue;
use crate::tasks::dispatcher::DispatcherWaker;

/// State that all request handlers share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiState {
    /// The job store.
    pub jobs: JobStore,
    /// Writes new jobs.
    pub acceptor: Acceptor,
    /// Admits new jobs within the limits.
    pub admission: Admission,
    /// Positions of queued jobs.
    pub queue: Queue,
    /// Notifies about changes of jobs.
    pub changes: Changes,
    /// The catalog of vehicles.
    pub catalog: Catalog,
    /// Wakes the dispatcher task of this process.
    pub dispatcher: DispatcherWaker,
    /// Signs download links.
    pub results: ResultBucket,
    /// Links that were signed a short time ago.
    pub links: LinkCache,
    /// Authenticates callers.
    pub auth: Authenticator,
    /// Sends webhooks, if they are configured.
    pub webhooks: Option<Webhooks>,
    /// Writes audit entries.
    pub audit: Audit,
    /// Limits of requests.
    pub limits: Limits,
    /// Counts requests without a valid key.
    pub(crate) failures: Failures,
    /// Names of this service, if only they are served (`AUTH=none`).
    pub(crate) own_hosts: Option<OwnHosts>,
    /// Whether new jobs share results.
    pub share_results: bool,
    /// Maximum number of attempts of a new job.
    pub max_attempts: NonZeroU32,
    /// Prefix of `Location`; empty for relative URLs.
    pub public_base_url: String,
}
