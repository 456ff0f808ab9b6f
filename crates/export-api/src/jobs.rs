//! Jobs between the handlers and the store: admission, accepting, position in the queue, sharing, and the audit log.

pub mod accepting;
pub mod admission;
pub mod audit;
pub mod queue;
pub mod sharing;
