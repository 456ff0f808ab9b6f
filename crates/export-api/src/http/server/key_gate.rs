//! Bounds the requests of a connection on which no key was shown yet.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use export_observability::{CallerPermit, PerCallerLimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests of one connection that are answered at a time until one of them had a valid key. The
/// others of that connection wait.
const REQUESTS_WITHOUT_KEY: usize = 8;

/// Admits few requests of a connection at a time until it has shown a valid key, and then all.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct KeyGate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: Arc<Semaphore>,
    is_open: AtomicBool,
    /// Open requests without a key, by address.
    by_address: Arc<PerCallerLimit<IpAddr>>,
    address: IpAddr,
}

/// A request on a connection without a key, until its answer is delivered.
#[derive(Debug)]
pub(super) struct GatePermit {
    _request: OwnedSemaphorePermit,
    _of_address: CallerPermit<IpAddr>,
}

/// The client's address has too many open requests on connections without a key. Requests that wait
/// take memory for their headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyWithoutKey;

impl KeyGate {
    /// The gate of one connection; `address` is the client's, as limits count it.
    pub(super) fn new(by_address: Arc<PerCallerLimit<IpAddr>>, address: IpAddr) -> Self {
        let requests = Arc::new(Semaphore::new(REQUESTS_WITHOUT_KEY));
        Self(Arc::new(Inner { requests, is_open: AtomicBool::new(false), by_address, address }))
    }

    /// Waits until the request may be answered. `None` when a key was shown.
    pub(super) async fn pass(&self) -> Result<Option<GatePermit>, TooManyWithoutKey> {
        if self.0.is_open.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let of_address = self.0.by_address.try_acquire(self.0.address).ok_or(TooManyWithoutKey)?;
        // Fails when the gate is opened.
        let request = self.0.requests.clone().acquire_owned().await.ok();
        Ok(request.map(|request| GatePermit { _request: request, _of_address: of_address }))
    }

    /// A request of the connection had a valid key: admits all requests from now on.
    pub(crate) fn open(&self) {
        if !self.0.is_open.swap(true, Ordering::Relaxed) {
            self.0.requests.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU32;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

    fn limit(of_address: u32) -> Arc<PerCallerLimit<IpAddr>> {
        Arc::new(PerCallerLimit::new(NonZeroU32::new(of_address).expect("not zero")))
    }

    #[tokio::test]
    async fn c1_few_requests_pass_until_a_key_was_shown() {
        let gate = KeyGate::new(limit(100), ADDRESS);
        let mut permits = Vec::new();
        for _ in 0..REQUESTS_WITHOUT_KEY {
            permits.push(gate.pass().await.expect("few").expect("a permit"));
        }
        let mut waiting = Box::pin(gate.pass());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        permits.pop();
        assert!(waiting.await.expect("few").is_some(), "one was delivered");
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass().await.expect("few").is_none() }
        });
        gate.open();
        assert!(waiting.await.expect("ended"), "all pass");
        assert!(gate.pass().await.expect("few").is_none());
    }

    #[tokio::test]
    async fn c1_requests_that_wait_are_few_for_all_connections_of_an_address() {
        let limit = limit(10);
        let gates = [(); 2].map(|()| KeyGate::new(limit.clone(), ADDRESS));
        let mut open = Vec::new();
        for gate in [&gates[0], &gates[1]].repeat(5) {
            open.push(gate.pass().await.expect("few"));
        }
        assert!(matches!(gates[0].pass().await, Err(TooManyWithoutKey)));
        assert!(KeyGate::new(limit.clone(), OTHER).pass().await.is_ok(), "another address");
        open.pop();
        assert!(gates[0].pass().await.is_ok(), "one was delivered");
        gates[1].open();
        assert!(gates[1].pass().await.is_ok_and(|permit| permit.is_none()), "with a key");
    }
}
