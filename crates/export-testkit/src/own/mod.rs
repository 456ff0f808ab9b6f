//! Servers that belong to one test, which can kill, restart or fill them.
//!
//! Each has its own folder and free ports, and keeps the ports over restarts. It is removed when
//! dropped, also when the test panics or is killed. The programs are named by variables that `cargo
//! xtask test` sets.

mod disk;
mod mongod;
mod process;
mod rabbitmq;
mod s3;

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

pub use disk::SmallDisk;
pub use mongod::OwnMongod;
pub use rabbitmq::OwnRabbitmq;
pub use s3::OwnS3;

/// The program that this variable names. Panics when it is not set.
pub(crate) fn program(variable: &str) -> PathBuf {
    match env::var_os(variable) {
        Some(path) if !path.is_empty() => path.into(),
        _ => panic!("{variable} is not set: tests with servers of their own are run with `cargo xtask test`"),
    }
}

/// Distinct free ports. They are below the kernel's ephemeral range, so that a client is unlikely
/// to take one between two starts of a server.
fn free_ports<const N: usize>() -> [u16; N] {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = (0..1_000).find_map(|_| {
            let candidate = fastrand::u16(15_000..32_000);
            TcpListener::bind((Ipv4Addr::LOCALHOST, candidate)).ok().map(|listener| (candidate, listener))
        });
        let (number, listener) = listener.unwrap_or_else(|| panic!("no free port"));
        *port = number;
        // All ports are held until all are known, so that none is returned twice.
        listeners.push(listener);
    }
    ports
}
