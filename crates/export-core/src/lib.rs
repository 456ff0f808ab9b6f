//! The domain of vehicle-data exports: what a request means, what a job is, what a result proves.
//!
//! Everything here is plain data and pure rules. This crate does no IO and knows no runtime, no
//! driver and no clock: times, ids and randomness are passed in.
//!
//! Start at [`request`] (the client's request), then [`job`] (its execution), [`result`] (its
//! files) and [`manifest`] (the proof that every point read is in the files).
//!
//! # Words with one meaning
//!
//! - A job is **queued** while it is `NOT_STARTED`. A queued job is **unpublished** while no message
//!   for it is out; it is **due** once its `runAfter` has passed; it is **in the broker** while it
//!   is queued and its message was published.
//! - A job is **dispatched** while it is in the broker or running (`STARTED`). It is **active** until
//!   it has ended: queued or running.
//! - An **attempt** is one claim of a job by a worker. A **pass** is one reading of the source by
//!   the engine: an attempt has a further pass for each time that it finds Parquet columns to be
//!   text.
//! - A **consumer lane** is one channel of a worker, which handles one delivery at a time. A **run
//!   slot** is the permission to run one export; the whole fleet shares a number of them. A
//!   **turn** is a tenant's right to the next job that is published, or the right of one process to
//!   publish.
//! - **Sharing** means that one result serves several jobs. Parts of memory are **budgets**, parts
//!   of an upload **parts**, and progress is a **fraction**.

pub mod access;
pub mod admission;
mod causes;
pub mod coverage;
pub mod density;
pub mod digest;
pub mod estimate;
pub mod event;
pub mod fairness;
pub mod forecast;
pub mod id;
pub mod job;
pub mod key;
pub mod manifest;
pub mod message;
pub mod names;
pub mod output;
pub mod range;
pub mod request;
pub mod result;
pub mod rules;
pub mod sharing;
pub mod sink;
pub mod source;
pub mod trace;
pub mod waiting;
pub mod warnings;
pub mod zone;

pub use causes::causes;
pub use id::{JobId, Parameter, Tenant, VehicleId};
pub use output::RESULT_FORMAT_VERSION;
pub use range::TimeRange;
pub use zone::ZONE_DATA_VERSION;
