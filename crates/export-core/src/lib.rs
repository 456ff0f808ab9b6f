//! The domain of vehicle-data exports: what a request means, what a job is, what a result proves.
//!
//! Everything here is plain data and pure rules. This crate does no IO and knows no runtime, no
//! driver and no clock: times, ids and randomness are passed in.
//!
//! Start at [`request`] (the client's request), then [`job`] (its execution), [`result`] (its
//! files) and [`manifest`] (the proof that every point read is in the files).

pub mod access;
pub mod admission;
mod causes;
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
pub mod output;
pub mod range;
pub mod request;
pub mod result;
pub mod rules;
pub mod sharing;
pub mod sink;
pub mod source;
pub mod trace;

pub use causes::causes;
pub use id::{JobId, Parameter, Tenant, VehicleId};
pub use output::RESULT_FORMAT_VERSION;
pub use range::TimeRange;
