//! The rules of [`export_core::rules`] applied in memory. The model and the tests of the job store
//! and the worker use them.

mod job;
mod result;

pub use job::{Announced, ApplyToJob, Input, Record};
pub use result::{ApplyToResult, ResultInput, ResultRecord};
