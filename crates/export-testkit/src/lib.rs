//! Real services for tests, builders for the source's documents, the reference exporter, and the
//! check of results.
//!
//! For tests and local tools only. No service depends on it, and it depends on none of the
//! project's crates, so that its opinion about an export is independent. It never skips a test: a
//! missing service is a panic that explains how to get it.
//!
//! Start at [`isolation::TestSpace`] for a test on real services, at [`proxy`] and [`own`] for one
//! that breaks them, at [`hour::HourBuilder`] for test data, at [`generated::case`] for a property
//! test, and at [`mod@reference`] for the definition of a correct export.

pub mod dump;
pub mod generated;
pub mod hour;
pub mod http;
pub mod isolation;
pub mod memory_group;
pub mod oddities;
pub mod own;
pub mod printing;
pub mod program;
pub mod proxy;
pub mod reference;
pub mod s3_server;
pub mod services;
pub mod settings;
pub mod tls;
pub mod verify;
pub mod wrong_clock;
