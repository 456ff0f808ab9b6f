//! Lists of networks.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::parser::{SettingParser, value};

/// What a list of networks looks like.
pub(crate) const EXPECTED: &str = "networks separated by commas, such as 10.1.0.0/16,fd00::/8";

/// Networks and single addresses. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Arc<[IpNet]>);

/// The text is not a list of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of {EXPECTED}")]
pub struct NotNetworks;

impl Networks {
    /// Whether the address is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for Networks {
    type Err = NotNetworks;

    fn from_str(text: &str) -> Result<Self, NotNetworks> {
        let network = |entry: &str| {
            let entry = entry.trim();
            let address = entry.parse::<IpAddr>().map(IpNet::from);
            entry.parse::<IpNet>().or(address).map_err(|_| NotNetworks)
        };
        text.split(',').map(network).collect::<Result<_, _>>().map(Self)
    }
}

/// The part of an address that identifies one customer: all of IPv4, the /64 network of IPv6,
/// because a customer with one IPv6 address usually has the whole /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// A list of networks.
pub(crate) fn networks() -> SettingParser<Networks> {
    value(EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses_are_listed_by_commas() {
        let networks: Networks = "10.1.0.0/16, fd00::/8,192.0.2.7".parse().expect("networks");
        for (address, is_in) in [
            ("10.1.2.3", true),
            ("10.2.0.0", false),
            ("fd12::1", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
        ] {
            assert_eq!(networks.contain(address.parse().expect("an address")), is_in, "{address}");
        }
        for wrong in ["", "10.1.0.0/33", "proxy", "10.1.0.0/16,"] {
            assert_eq!(wrong.parse::<Networks>(), Err(NotNetworks), "{wrong}");
        }
    }

    #[test]
    fn an_ipv6_customer_is_its_64_bit_network() {
        let of = |text: &str| network(text.parse().expect("an address")).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
