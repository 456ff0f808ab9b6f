//! Servers that belong to one test, which may kill, restart or fill them as it likes.
//!
//! Each has a folder, free ports that it keeps over restarts, and is gone when dropped, also when the test panics or is killed.
//! The programs are named by variables that `cargo xtask test` sets.

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

/// Free ports, different from each other. Below the kernel's ephemeral range, so that no client is likely to take one
/// between two starts of a server.
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
        // All are held until all are known, so that none is given twice.
        listeners.push(listener);
    }
    ports
}
