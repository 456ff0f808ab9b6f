//! What runs in the background beside the requests, and the supervision that ends the process when one of them ends.

pub mod dispatcher;
pub mod relay;
pub(crate) mod supervised;
pub mod sweeper;
