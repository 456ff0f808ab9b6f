//! What the person on call sees: logs, and whether a service is alive and ready.

mod health;
mod logs;

pub use health::{Readiness, ask_readiness, serve_health};
pub use logs::{LogError, init_logs};
