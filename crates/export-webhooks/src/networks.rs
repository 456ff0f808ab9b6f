//! The addresses that webhooks may go to: public ones, and ones that the operator allows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 ranges that are not the public internet, from IANA's registry of special-purpose addresses.
const NOT_PUBLIC_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),        // this network, unspecified
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // shared by carriers
    v4([127, 0, 0, 0], 8),      // loopback
    v4([169, 254, 0, 0], 16),   // link-local; clouds serve secrets there
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // protocol assignments
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 88, 99, 0], 24),   // relays of 6to4
    v4([192, 168, 0, 0], 16),   // private
    v4([198, 18, 0, 0], 15),    // benchmarks
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 4),      // multicast
    v4([240, 0, 0, 0], 4),      // reserved, broadcast
    v4([168, 63, 129, 16], 32), // a cloud's platform service on a public address
];

/// The IPv6 range that is allocated to the public internet. Loopback, IPv4-mapped, NAT64, unique
/// local, link-local and multicast addresses are all outside it.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0], 3);
/// Ranges in [`GLOBAL_V6`] that are not public, or that embed an IPv4 address.
const NOT_PUBLIC_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0], 23),     // protocol assignments, Teredo
    v6([0x2001, 0xdb8], 32), // documentation
    v6([0x2002, 0], 16),     // 6to4
    v6([0x3fff, 0], 20),     // documentation
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([first, second]: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

/// Private networks that the operator allows for webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedNetworks(Vec<IpNet>);

/// The text is not a list of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of networks such as 10.1.0.0/16,fd00::/8")]
pub struct NotANetwork;

impl FromStr for AllowedNetworks {
    type Err = NotANetwork;

    /// Parses networks or single addresses, separated by commas.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let network = |entry: &str| {
            let entry = entry.trim();
            let address = entry.parse::<IpAddr>().map(IpNet::from);
            entry.parse::<IpNet>().or(address).map_err(|_| NotANetwork)
        };
        text.split(',').map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl AllowedNetworks {
    /// Whether webhooks may go to this address.
    pub fn allow(&self, address: IpAddr) -> bool {
        is_public(address) || self.0.iter().any(|network| network.contains(&address))
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|network| network.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn only_public_addresses_are_allowed() {
        let none = AllowedNetworks::default();
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
        ] {
            assert!(none.allow(address(public)), "{public}");
        }
        for other in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:1.1.1.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!none.allow(address(other)), "{other}");
        }
    }

    #[test]
    fn the_operator_may_allow_more() {
        let some: AllowedNetworks = "10.1.0.0/16, fd00::/8,127.0.0.1".parse().expect("networks");
        for allowed in ["10.1.2.3", "fd12::1", "127.0.0.1", "1.1.1.1"] {
            assert!(some.allow(address(allowed)), "{allowed}");
        }
        for refused in ["10.2.0.1", "fc00::1", "127.0.0.2", "::ffff:10.1.2.3"] {
            assert!(!some.allow(address(refused)), "{refused}");
        }
        for wrong in ["", "hunter2", "10.0.0.0/33", "10.0.0.0/8;127.0.0.1", "10.0.0.0/8,"] {
            assert_eq!(wrong.parse::<AllowedNetworks>(), Err(NotANetwork), "{wrong}");
        }
    }

    /// An independent check: the standard library where it has a method, numbers elsewhere.
    fn is_special(address: Ipv4Addr) -> bool {
        let [a, b, c, _] = address.octets();
        address.is_private()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_documentation()
            || address.is_multicast()
            || a == 0
            || a >= 240
            || (a == 100 && b / 64 == 1)
            || (a == 198 && b / 2 == 9)
            || (a, b, c) == (192, 0, 0)
            || (a, b, c) == (192, 88, 99)
            || address == Ipv4Addr::new(168, 63, 129, 16)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        // Half of the addresses are near the bounds of a range.
        #[test]
        fn ipv4_is_filtered_as_the_table_says(bits: u32, near in 0_usize..32, step in -2_i64..3) {
            let network = NOT_PUBLIC_V4[near / 2];
            let bound = if near % 2 == 0 { network.network() } else { network.broadcast() };
            let beside = u32::try_from((i64::from(u32::from(bound)) + step).clamp(0, i64::from(u32::MAX))).expect("clamped");
            for address in [Ipv4Addr::from(bits), Ipv4Addr::from(beside)] {
                prop_assert_eq!(is_public(address.into()), !is_special(address), "{}", address);
                // No form of the address in IPv6 is public either.
                let [a, b] = [u32::from(address) >> 16, u32::from(address) & 0xffff].map(|half| u16::try_from(half).expect("a half"));
                for hidden in [
                    address.to_ipv6_mapped(),
                    address.to_ipv6_compatible(),
                    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b),
                    Ipv6Addr::new(0x2002, a, b, 0, 0, 0, 0, 1),
                    Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, !a, !b),
                ] {
                    prop_assert!(!is_public(hidden.into()), "{}", hidden);
                }
            }
        }

        #[test]
        fn ipv6_outside_of_the_public_part_is_refused(bits: u128) {
            let address = Ipv6Addr::from(bits);
            let is_outside = address.segments()[0] >> 13 != 1;
            prop_assert!(!is_outside || !is_public(address.into()), "{}", address);
        }
    }
}
