//! Resolves names once and connects to the checked addresses. A second look-up could return other
//! addresses (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::networks::AllowedNetworks;

/// A name resolves to an address that webhooks may not go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name leads to an address that is not public")]
pub(crate) struct RefusedAddress;

/// Resolves names and refuses addresses that are not allowed.
#[derive(Clone, Debug)]
pub(crate) struct CheckedResolver {
    pub(crate) allowed: AllowedNetworks,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.allowed.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
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
        let resolver = CheckedResolver { allowed: AllowedNetworks::default() };
        let outcome = resolver.resolve("localhost".parse().expect("a name")).await.map(Iterator::count);
        assert!(outcome.expect_err("refused").is::<RefusedAddress>());
        let resolver = CheckedResolver { allowed: "127.0.0.0/8,::1".parse().expect("networks") };
        let outcome = resolver.resolve("localhost".parse().expect("a name")).await.map(Iterator::count);
        assert!(outcome.expect("addresses") > 0);
    }
}
