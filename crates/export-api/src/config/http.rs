//! Where the API listens, and what clients call it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use export_settings::{SettingError, optional, parsed_or};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "HTTP")]
pub(super) struct HttpArgs {
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, env = "HOST", value_name = "ADDRESS")]
    host: Option<String>,
    /// Port to listen on [default: 3000]
    #[arg(long, env = "PORT", value_name = "PORT")]
    port: Option<String>,
    /// Address of health and readiness [default: 127.0.0.1:3001]
    #[arg(long, env = "ADMIN_ADDR", value_name = "ADDRESS:PORT")]
    admin_addr: Option<String>,
    /// What clients put before `/export`; in front of the paths of `Location` [default: nothing]
    #[arg(long, env = "PUBLIC_BASE_URL", value_name = "URL")]
    public_base_url: Option<String>,
}

/// Where the API listens, and what clients call it.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where health listens.
    pub admin: SocketAddr,
    /// What clients put before `/export`, without a slash at its end.
    pub public_base_url: String,
}

impl HttpArgs {
    pub(super) fn admin(&self) -> Result<SocketAddr, SettingError> {
        let default = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 3001);
        parsed_or("ADMIN_ADDR", self.admin_addr.as_ref(), default, "an address such as 127.0.0.1:3001")
    }

    pub(super) fn resolve(&self) -> Result<HttpSettings, SettingError> {
        let host: IpAddr = parsed_or(
            "HOST",
            self.host.as_ref(),
            Ipv4Addr::LOCALHOST.into(),
            "an IP address such as 127.0.0.1 or 0.0.0.0",
        )?;
        let port = parsed_or("PORT", self.port.as_ref(), 3000, "a port from 0 to 65535")?;
        Ok(HttpSettings {
            listen: SocketAddr::new(host, port),
            admin: self.admin()?,
            public_base_url: self.public_base_url()?,
        })
    }

    fn public_base_url(&self) -> Result<String, SettingError> {
        let Some(text) = optional(self.public_base_url.as_ref()) else { return Ok(String::new()) };
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        // Goes into a header: only what may stand there.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_url || !is_plain {
            let expected = "an http or https URL such as https://exports.example.com";
            return Err(SettingError::Wrong { name: "PUBLIC_BASE_URL", expected });
        }
        Ok(text.trim_end_matches('/').to_owned())
    }
}
