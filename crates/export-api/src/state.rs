//! What every request handler can reach.

use export_amqp::Publisher;
use export_mongo::JobStore;
use export_s3::ResultBucket;

/// Shared by all requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiState {
    /// The truth about jobs.
    pub jobs: JobStore,
    /// Sends jobs to the workers.
    pub publisher: Publisher,
    /// Signs download links.
    pub results: ResultBucket,
    /// What `Location` begins with; empty for relative ones.
    pub public_base_url: String,
}
