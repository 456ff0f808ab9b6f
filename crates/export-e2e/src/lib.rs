//! The whole service in one process, on real services, for tests that follow an export from the
//! request to the zip.
//!
//! [`Stack`] belongs to one test: its own databases, queues and bucket. It is the only place where
//! the API and the worker meet.

mod creating;
mod doors;
mod events;
mod stack;

pub use creating::create;
pub use doors::HeldJob;
pub use events::{Event, EventStream};
pub use export_testkit::http::Answer;
pub use stack::{Stack, unhurried, wide_admission};
