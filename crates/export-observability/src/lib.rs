//! What operators see of a service: logs, metrics and health; the signals that stop it; and the
//! limit per address that all of its listeners share.
#![warn(
    clippy::print_stderr,
    reason = "it panics if nothing can be written: use export_settings::print::note"
)]

mod admin_listener;
mod health;
mod logs;
mod metrics;
mod per_caller;
mod signals;

pub use health::{Readiness, healthcheck, serve_health};
pub use logs::init_logs;
pub use metrics::{Metrics, init_metrics};
pub use per_caller::{CallerPermit, PerCallerLimit};
pub use signals::stop_signal;
