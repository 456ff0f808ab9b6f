//! Where the API listens, and under which URL clients reach it.

use std::net::{IpAddr, SocketAddr};

use url::Host;

use crate::networks::{Networks, networks};
use crate::parser::{SettingParser, value};

/// Where the API listens, and under which URL clients reach it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpSettings {
    /// IP address that the API listens on
    #[arg(
        long,
        env,
        value_name = "ADDRESS",
        default_value = "127.0.0.1",
        value_parser = value::<IpAddr>("an IP address such as 127.0.0.1 or 0.0.0.0")
    )]
    pub host: IpAddr,
    /// Port that the API listens on; 0 takes a free one
    #[arg(
        long,
        env,
        value_name = "PORT",
        default_value = "3000",
        value_parser = value::<u16>("a port from 0 to 65535")
    )]
    pub port: u16,
    /// URL that clients put before `/export`, such as `https://exports.example.com`; `Location`
    /// headers begin with it. Without it, `Location` is a path
    #[arg(long, env, value_name = "URL", value_parser = base_url())]
    pub public_base_url: Option<String>,
    /// Networks of the proxies in front of the API, such as `10.1.0.0/16,fd00::/8`. The client's
    /// address is then what they report (`X-Forwarded-For` or `Forwarded`), and they may open any
    /// number of connections. Without it, every connection is that of a client
    #[arg(long, env, value_name = "NETWORKS", value_parser = networks())]
    pub trusted_proxies: Option<Networks>,
    /// Names under which the API may be called with `AUTH=none`, such as
    /// `exports.internal.example,exports`, beside that of `PUBLIC_BASE_URL`, IP addresses, and names
    /// without dots. Others are refused: a web page elsewhere could use them to reach the API
    /// through its visitor's browser
    #[arg(long, env, value_name = "NAMES", value_parser = host_names())]
    pub allowed_hosts: Option<HostNames>,
}

/// Names of hosts, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNames(pub Vec<String>);

impl HttpSettings {
    /// The address and the port that the API listens on.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

/// Names of hosts, separated by commas.
fn host_names() -> SettingParser<HostNames> {
    SettingParser::new("names of hosts separated by commas, without ports", |text| {
        let name = |name: &str| match Host::parse(name.trim()) {
            Ok(Host::Domain(name)) => Some(name),
            _ => None,
        };
        text.split(',').map(name).collect::<Option<Vec<String>>>().map(HostNames)
    })
}

/// An http or https URL without a slash at its end.
fn base_url() -> SettingParser<String> {
    SettingParser::new("an http or https URL such as https://exports.example.com", |text| {
        let has_scheme = ["http://", "https://"]
            .iter()
            .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        // The URL goes into a header.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        (has_scheme && is_plain).then(|| text.trim_end_matches('/').to_owned())
    })
}
