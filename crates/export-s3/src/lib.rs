//! S3: where results go and how clients fetch them.
//!
//! [`ResultBucket`] is the bucket; [`upload`] takes what a blocking writer produces and stores it as one object, created
//! once and never overwritten; [`ResultBucket::presign_download`] makes the links for a client. Types of the SDK do not
//! leave this crate.

mod bucket;
mod error;
mod key;
mod links;
mod upload;

pub use bucket::{ResultBucket, S3Server};
pub use error::S3Error;
pub use key::result_key;
pub use upload::{PartWriter, Parts, Uploaded, part_channel, upload};
