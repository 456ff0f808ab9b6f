//! Jobs between the handlers and the store: admission, accepting, position in the queue, sharing, and the audit log.

pub mod accepting;
pub mod admission;
mod answer_cache;
pub mod audit;
pub mod queue;
pub mod sharing;
