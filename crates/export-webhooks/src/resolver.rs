//! Resolves names once and connects to the checked addresses. A second look-up could return other
//! addresses (DNS rebinding).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Resolver, TokioResolver};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::timeout;

use crate::networks::AllowedNetworks;

/// Timeout of a look-up with all of its requests: below that of the connection that needs it.
const LOOK_UP: Duration = Duration::from_secs(4);
/// Timeout of one request to a name server.
const REQUEST: Duration = Duration::from_millis(1_500);
/// Concurrent requests to one name server: more than all attempts of a process have, so that
/// receivers whose name servers do not answer refuse no other look-up.
const MAX_REQUESTS: usize = 1_024;

/// A name resolves to an address that webhooks may not go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name leads to an address that is not public")]
pub(crate) struct RefusedAddress;

/// The name servers have not answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no name server has answered within {} s", LOOK_UP.as_secs())]
struct NoAnswer;

/// Resolves names and refuses addresses that are not allowed.
///
/// Look-ups are asynchronous: one that never gets an answer holds no thread, unlike the system's
/// resolver, which holds one for as long as the name servers take. It reads the same files as that
/// one (`/etc/resolv.conf` and `/etc/hosts`, when the program starts).
#[derive(Clone, Debug)]
pub(crate) struct CheckedResolver {
    allowed: AllowedNetworks,
    names: TokioResolver,
}

impl CheckedResolver {
    /// With the name servers of the system. Without a readable `/etc/resolv.conf`, the one on this
    /// machine, as the system's resolver does.
    pub(crate) fn of_system(allowed: AllowedNetworks) -> Result<Self, NetError> {
        let (config, options) = read_system_conf().unwrap_or_else(|_| {
            let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (ResolverConfig::from_parts(None, Vec::new(), vec![local]), ResolverOpts::default())
        });
        Self::with(allowed, config, options)
    }

    fn with(
        allowed: AllowedNetworks,
        config: ResolverConfig,
        mut options: ResolverOpts,
    ) -> Result<Self, NetError> {
        (options.timeout, options.attempts) = (REQUEST, 2);
        options.max_active_requests = MAX_REQUESTS;
        // All addresses, because all are checked.
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Every attempt checks the addresses of its time.
        options.cache_size = 0;
        let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        Ok(Self { allowed, names: builder.with_options(options).build()? })
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { allowed, names } = self.clone();
        Box::pin(async move {
            let found = timeout(LOOK_UP, names.lookup_ip(name.as_str())).await.map_err(|_| NoAnswer)??;
            let found = found.iter().map(|address| SocketAddr::new(address, 0)).collect();
            let checked = checked(&allowed, found)?;
            Ok(Box::new(checked.into_iter()) as Addrs)
        })
    }
}

/// Refuses all addresses if one is not allowed: a name with public and private addresses is an
/// attack or a mistake.
fn checked(allowed: &AllowedNetworks, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, RefusedAddress> {
    let is_allowed = |address: IpAddr| allowed.allow(address);
    if found.iter().all(|address| is_allowed(address.ip())) { Ok(found) } else { Err(RefusedAddress) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_private_address_refuses_the_name() {
        let found = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 0)).collect()
        };
        let public = found(&["1.1.1.1", "2606:4700::1111"]);
        let none = AllowedNetworks::default();
        assert_eq!(checked(&none, public.clone()), Ok(public));
        let mixed = found(&["1.1.1.1", "10.0.0.1"]);
        assert_eq!(checked(&none, mixed.clone()), Err(RefusedAddress));
        assert_eq!(checked(&"10.0.0.0/8".parse().expect("a network"), mixed.clone()), Ok(mixed));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused() {
        let resolver = CheckedResolver::of_system(AllowedNetworks::default()).expect("a resolver");
        let outcome = resolver.resolve("localhost".parse().expect("a name")).await.map(Iterator::count);
        assert!(outcome.expect_err("refused").is::<RefusedAddress>());
        let allowed = "127.0.0.0/8,::1".parse().expect("networks");
        let resolver = CheckedResolver::of_system(allowed).expect("a resolver");
        let outcome = resolver.resolve("localhost".parse().expect("a name")).await.map(Iterator::count);
        assert!(outcome.expect("addresses") > 0);
    }

    /// The system's resolver would hold a thread for each of these look-ups.
    #[tokio::test]
    async fn c10_name_servers_that_never_answer_hold_no_threads() {
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let mut server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
        server.connections[0].port = silent.local_addr().expect("an address").port();
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let resolver = CheckedResolver::with(AllowedNetworks::default(), config, ResolverOpts::default());
        let resolver = resolver.expect("a resolver");
        let threads = || std::fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or_default();
        let before = threads();
        let look_ups: Vec<_> = (0..200)
            .map(|number| {
                let name: Name = format!("host-{number}.example").parse().expect("a name");
                tokio::spawn(resolver.resolve(name))
            })
            .collect();
        // The look-ups are under way: a request of one of them has arrived.
        silent.recv(&mut [0; 512]).await.expect("a request");
        let during = threads();
        tokio::task::spawn_blocking(|| ()).await.expect("a free thread");
        for look_up in look_ups {
            let outcome = look_up.await.expect("no panic").map(Iterator::count);
            assert!(outcome.is_err(), "no addresses");
        }
        assert!(during <= before + 8, "{during} threads, {before} before");
    }
}
