//! Ports: whether one is free, and free ones for instances that live for one run.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// How long a connection on the loopback may take.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);

/// A port, and the texts for messages about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// What listens there.
    pub(crate) purpose: &'static str,
    /// The variable that changes it.
    pub(crate) variable: &'static str,
}

impl Port {
    /// An error with the setting to change, if another program listens on the port.
    pub(crate) fn check_free(self) -> anyhow::Result<()> {
        let Self { number, purpose, variable } = self;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_err() {
            bail!(
                "port {number}, meant for {purpose}, is taken by another program; \
                 end that program or choose another port with {variable}=<port>"
            );
        }
        Ok(())
    }
}

/// Ports of servers that live for one run. They lie below the range from which the system takes the
/// ports of outgoing connections, so none of those can take a port before its server listens.
const OWN_PORTS: Range<u16> = 10_000..15_000;
/// Attempts to find one free port.
const ATTEMPTS: u32 = 100;

/// Distinct free ports.
pub(crate) fn free<const N: usize>() -> anyhow::Result<[u16; N]> {
    // All ports are held until all are known, so that none is returned twice.
    let mut listeners = Vec::with_capacity(N);
    let mut numbers = [0; N];
    for number in &mut numbers {
        let listener = (0..ATTEMPTS)
            .find_map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(OWN_PORTS))).ok())
            .context("no free port")?;
        *number = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(numbers)
}

/// A connection to a port of this machine, if something accepts there.
pub(crate) fn connect(number: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, number).into(), CONNECT_LIMIT).ok()?;
    stream.set_read_timeout(Some(CONNECT_LIMIT)).ok()?;
    stream.set_write_timeout(Some(CONNECT_LIMIT)).ok()?;
    Some(stream)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::{Port, free};

    #[test]
    fn a_taken_port_is_named_with_its_variable() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = listener.local_addr().unwrap().port();
        let port = Port { number, purpose: "MongoDB", variable: "MONGODB_PORT" };
        let message = port.check_free().unwrap_err().to_string();
        assert!(message.contains(&number.to_string()) && message.contains("MongoDB"), "{message}");
        assert!(message.contains("MONGODB_PORT="), "{message}");
        drop(listener);
        port.check_free().unwrap();
    }

    #[test]
    fn free_ports_differ() {
        let [a, b, c] = free::<3>().unwrap();
        assert!(a != b && b != c && a != c);
    }
}
