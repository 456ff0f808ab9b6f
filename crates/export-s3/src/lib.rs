//! S3: where results go and how clients fetch them.
//!
//! [`ResultBucket`] is the bucket; a [`ResultSink`] stores the objects of one export, each created once and never
//! overwritten; [`ResultBucket::presign_download`] makes the links for a client. Types of the SDK do not leave this crate.

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

pub use bucket::{ResultBucket, S3Server};
pub use error::S3Error;
pub use key::ResultPlace;
pub use parts::PartBytes;
pub use policy::{Identity, policy};
pub use sink::{PartGauge, ResultSink, StopGuard};
pub use stored::StoredResult;
