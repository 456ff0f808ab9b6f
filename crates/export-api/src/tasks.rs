//! Background tasks, and the supervision that stops the process when one of them ends unexpectedly.

pub mod dispatcher;
pub mod relay;
pub(crate) mod supervised;
pub mod sweeper;
