//! What every request handler can reach.

use std::num::NonZeroU32;

use export_amqp::Publisher;
use export_mongo::JobStore;
use export_s3::ResultBucket;

use crate::auth::Authenticator;
use crate::limits::Limits;

/// Shared by all requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiState {
    /// The truth about jobs.
    pub jobs: JobStore,
    /// Sends jobs to the workers.
    pub publisher: Publisher,
    /// Signs download links.
    pub results: ResultBucket,
    /// Finds out who is calling.
    pub auth: Authenticator,
    /// What one caller may have.
    pub limits: Limits,
    /// Attempts that a new job may have.
    pub max_attempts: NonZeroU32,
    /// What `Location` begins with; empty for relative ones.
    pub public_base_url: String,
}
