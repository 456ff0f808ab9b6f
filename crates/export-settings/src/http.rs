//! Where the API listens, and under which URL clients reach it.

use std::net::{IpAddr, SocketAddr};

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
}

impl HttpSettings {
    /// The address and the port that the API listens on.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
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
