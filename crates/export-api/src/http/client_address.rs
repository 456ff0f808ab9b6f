//! The address of the client that sent a request: that of the connection, or the one that a trusted
//! proxy reports.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, header};
use export_settings::networks::Networks;

pub(crate) use export_settings::networks::network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Maximum number of proxies in a row: addresses of a forwarding header that are read, from the
/// right.
const MAX_HOPS: usize = 16;

/// The client's address of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(IpAddr);

impl Peer {
    pub(crate) fn new(address: IpAddr) -> Self {
        Self(address)
    }

    /// The address of a request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self(Ipv4Addr::UNSPECIFIED.into()))
    }

    /// The address.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// The proxies whose forwarding headers are believed. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Networks);

impl TrustedProxies {
    /// The proxies of these networks.
    pub fn new(networks: Networks) -> Self {
        Self(networks)
    }

    /// Whether the address is that of a trusted proxy.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.0.contain(address.to_canonical())
    }

    /// The address of the client of a request that came from `peer`.
    ///
    /// Trust. Each proxy appends the address of its own client, so the list is read from the right,
    /// and only as far as trusted proxies wrote it: the first address that is not a trusted proxy
    /// is the client, whatever stands to its left. Most proxies write only one of the two headers
    /// and pass the other one on as the client sent it. So if both are there and disagree, neither
    /// is believed, and the proxy itself counts as the client.
    pub(crate) fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contain(peer) {
            return peer;
        }
        let of = |name: &HeaderName, parse: fn(&str) -> Option<IpAddr>| {
            headers.contains_key(name).then(|| self.last_untrusted(peer, headers, name, parse))
        };
        match (of(&X_FORWARDED_FOR, plain_address), of(&header::FORWARDED, forwarded_for)) {
            (Some(one), Some(other)) if one != other => peer,
            (Some(client), _) | (None, Some(client)) => client,
            (None, None) => peer,
        }
    }

    fn last_untrusted(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        name: &HeaderName,
        parse: fn(&str) -> Option<IpAddr>,
    ) -> IpAddr {
        let lines: Vec<&str> =
            headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default()).collect();
        let entries = lines.iter().rev().flat_map(|line| line.rsplit(','));
        let mut client = peer;
        for entry in entries.take(MAX_HOPS) {
            // What is not an address (`unknown`, `_hidden`) ends the list: the last proxy that is
            // known counts as the client.
            let Some(address) = parse(entry.trim()) else { break };
            client = address;
            if !self.contain(address) {
                break;
            }
        }
        client
    }
}

/// An address of `X-Forwarded-For`, with or without a port.
fn plain_address(text: &str) -> Option<IpAddr> {
    let address = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    address().or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

/// The `for` of one element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut nodes = element.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    });
    let (node, None) = (nodes.next()?, nodes.next()) else { return None };
    let quoted = node.strip_prefix('"').and_then(|node| node.strip_suffix('"'));
    plain_address(quoted.unwrap_or(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(HeaderName, &str)]) -> String {
        let proxies = TrustedProxies::new("10.0.0.0/8,fd00::/8".parse().expect("networks"));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().expect("a value"));
        }
        proxies.client_of(peer.parse().expect("an address"), &map).to_string()
    }

    #[test]
    fn c5_only_trusted_proxies_say_who_their_client_is() {
        let forwarded = [(X_FORWARDED_FOR, "192.0.2.1")];
        assert_eq!(client("198.51.100.1", &forwarded), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &forwarded), "192.0.2.1");
        assert_eq!(client("::ffff:10.0.0.1", &forwarded), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn c5_forwarding_headers_are_read_from_the_right() {
        for (value, expected) in [
            // What the client made up stands on the left.
            ("1.1.1.1, 192.0.2.1", "192.0.2.1"),
            ("10.9.9.9, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db8::1]:4711, fd00::1", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            // Nothing but proxies: the first of them.
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("192.0.2.1, unknown", "10.0.0.1"),
            ("192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"),
            ("", "10.0.0.1"),
            (",", "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[(X_FORWARDED_FOR, value)]), expected, "{value}");
        }
        let lines = [(X_FORWARDED_FOR, "1.1.1.1"), (X_FORWARDED_FOR, "192.0.2.1, 10.0.0.2")];
        assert_eq!(client("10.0.0.1", &lines), "192.0.2.1");
        let long = format!("192.0.2.1{}", ", 10.0.0.2".repeat(MAX_HOPS));
        assert_eq!(client("10.0.0.1", &[(X_FORWARDED_FOR, &long)]), "10.0.0.2");
    }

    #[test]
    fn c5_forwarded_is_read_too_unless_the_two_headers_disagree() {
        for (value, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("for=1.1.1.1, For=\"192.0.2.1:80\";proto=http", "192.0.2.1"),
            ("proto=http;for=\"[2001:db8::1]:80\"", "2001:db8::1"),
            ("for=_hidden", "10.0.0.1"),
            ("for=1.1.1.1;for=2.2.2.2", "10.0.0.1"),
            ("by=192.0.2.1", "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[(header::FORWARDED, value)]), expected, "{value}");
        }
        let both =
            |forwarded| client("10.0.0.1", &[(X_FORWARDED_FOR, "192.0.2.1"), (header::FORWARDED, forwarded)]);
        assert_eq!(both("for=192.0.2.1"), "192.0.2.1");
        assert_eq!(both("for=192.0.2.2"), "10.0.0.1", "one of the two is the client's own invention");
    }
}
