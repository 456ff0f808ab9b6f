//! The whole service in one process, on real services, for tests that follow an export from the request to the zip.
//!
//! [`Stack`] belongs to one test: its own databases, queues and bucket. It is the only place where the API and the worker meet.

mod http;
mod stack;

pub use http::Answer;
pub use stack::Stack;
