//! S3: stores results and signs download links.
//!
//! [`ResultBucket`] is the bucket. A [`ResultSink`] stores the objects of one export, each created
//! once and never overwritten. [`ResultBucket::presign_download`] signs the links for clients. The
//! SDK's types do not leave this crate.

mod bucket;
mod error;
mod key;
mod lifecycle;
mod links;
mod object;
mod parts;
mod policy;
mod signing;
mod sink;
mod stored;
mod write_check;

pub use bucket::{ResultBucket, S3Server};
pub use error::S3Error;
pub use key::ResultLocation;
pub use links::{ResultAddress, attachment};
pub use parts::{PartBytes, PartGauge};
pub use policy::{Identity, policy};
pub use sink::{ResultSink, StopGuard};
pub use stored::StoredResult;
