//! `ADMIN_ADDR`: where a service answers about itself.

use std::net::SocketAddr;

use crate::parser::value;

/// Where a service answers about itself.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Health")]
pub struct HealthSettings {
    /// Address of health, readiness and metrics; by default port 3001 for the API, 3002 for the
    /// worker
    #[arg(
        long,
        env,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:3001",
        value_parser = value::<SocketAddr>("an address such as 127.0.0.1:3001")
    )]
    pub admin_addr: SocketAddr,
}

/// The default of the worker, which may run beside an API.
pub const WORKER_DEFAULT: &str = "127.0.0.1:3002";
