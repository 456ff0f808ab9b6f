//! What handlers do with jobs besides storing them: admission control, writing new jobs in batches,
//! queue positions, signed links, and the audit log.

pub mod accepting;
pub mod admission;
pub(crate) mod answer_cache;
pub mod audit;
pub mod link_cache;
pub mod queue;
