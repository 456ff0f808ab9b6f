//! What handlers do with jobs besides storing them: admission control, writing new jobs in batches,
//! queue positions, and the audit log.

pub mod accepting;
pub mod admission;
mod answer_cache;
pub mod audit;
pub mod queue;
