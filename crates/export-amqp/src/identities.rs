//! The services' users in the broker, and their rights.
//!
//! AMQP cannot create users, so this calls the broker's management API over HTTP. It changes rights
//! only in the deployment's virtual host; a user may have rights in others too.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lapin::uri::AMQPUri;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use ureq::tls::{RootCerts, TlsConfig};
use url::Url;

use crate::connection::CALL_TIMEOUT;
use crate::error::AmqpError;
use crate::topology::{Identity, Permissions, Topology};

/// A user, as named in a broker's URL.
#[derive(Clone, Debug)]
pub struct BrokerUser {
    name: String,
    password: SecretString,
    virtual_host: String,
}

impl BrokerUser {
    /// The user in a broker's URL; `None` if the URL has no user or no password.
    pub fn in_url(url: &SecretString) -> Option<Self> {
        let virtual_host = url.expose_secret().parse::<AMQPUri>().ok()?.vhost;
        // Parsed by `Url`, because `AMQPUri` fills in defaults for a missing user and password.
        let (name, password) = user_in(&Url::parse(url.expose_secret()).ok()?)?;
        Some(Self { name, password, virtual_host })
    }

    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether both have the same name. Passwords are not compared.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

fn user_in(url: &Url) -> Option<(String, SecretString)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(String::from);
    let (name, password) = (decoded(url.username())?, decoded(url.password()?)?);
    let is_complete = !name.is_empty() && !password.is_empty();
    is_complete.then(|| (name, password.into()))
}

/// The broker's management API, called as an administrator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Management {
    agent: ureq::Agent,
    /// Without user, path or closing slash.
    address: String,
    authorization: SecretString,
    virtual_host: String,
}

impl Management {
    /// The API at `url`, for the virtual host of the administrator's `broker_url`. The user is that
    /// of `url`, or else that of `broker_url`; `None` if neither has one.
    pub fn new(url: &SecretString, broker_url: &SecretString) -> Option<Self> {
        let mut address = Url::parse(url.expose_secret()).ok()?;
        let virtual_host = broker_url.expose_secret().parse::<AMQPUri>().ok()?.vhost;
        let (name, password) = match user_in(&address) {
            Some(user) => user,
            None => user_in(&Url::parse(broker_url.expose_secret()).ok()?)?,
        };
        address.set_username("").ok()?;
        address.set_password(None).ok()?;
        let plain = format!("{name}:{}", password.expose_secret());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        // Passwords must reach only this address, so there is no proxy and redirects are not
        // followed.
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(CALL_TIMEOUT))
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(tls)
            .build();
        Some(Self {
            agent: agent.into(),
            address: address.as_str().trim_end_matches('/').to_owned(),
            authorization: format!("Basic {}", BASE64_STANDARD.encode(plain)).into(),
            virtual_host,
        })
    }

    /// Creates or updates the user: this password, the rights of this identity, no tags.
    pub async fn provision_user(
        &self,
        topology: &Topology,
        identity: Identity,
        user: &BrokerUser,
    ) -> Result<(), AmqpError> {
        if user.virtual_host != self.virtual_host {
            return Err(AmqpError::OtherVirtualHost { user: user.name.clone() });
        }
        let name = path_segment(&user.name);
        let content = json!({ "password": user.password.expose_secret(), "tags": "" });
        self.put("creating a user", format!("users/{name}"), content).await?;
        let Permissions { configure, write, read } = topology.permissions(identity);
        let content = json!({ "configure": configure, "write": write, "read": read });
        let path = format!("permissions/{}/{name}", path_segment(&user.virtual_host));
        self.put("setting a user's permissions", path, content).await
    }

    async fn put(&self, operation: &'static str, path: String, content: Value) -> Result<(), AmqpError> {
        let this = self.clone();
        let request = move || {
            let url = format!("{}/api/{path}", this.address);
            let request = this.agent.put(url).header("content-type", "application/json");
            let answer = request
                .header("authorization", this.authorization.expose_secret())
                .send(content.to_string())
                .map_err(|error| AmqpError::Driver { operation, source: Box::new(error) })?;
            let status = answer.status();
            if status.is_success() {
                Ok(())
            } else {
                Err(AmqpError::Management { operation, status: status.as_u16() })
            }
        };
        // The client blocks; its own timeout ends it.
        let outcome = tokio::task::spawn_blocking(request).await;
        outcome.unwrap_or_else(|panic| Err(AmqpError::Driver { operation, source: Box::new(panic) }))
    }
}

fn path_segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(url: &str) -> Option<BrokerUser> {
        BrokerUser::in_url(&url.to_owned().into())
    }

    #[test]
    fn the_user_is_read_from_the_url() {
        let found = user("amqps://a%40b:p%2Fw@host:5671/v%2Fh?heartbeat=10").expect("a user");
        let seen = (found.name(), found.password.expose_secret(), found.virtual_host.as_str());
        assert_eq!(seen, ("a@b", "p/w", "v/h"));
        assert_eq!(user("amqp://a:b@host").expect("a user").virtual_host, "/");
        assert!(!format!("{found:?}").contains("p/w"));
    }

    #[test]
    fn without_name_and_password_there_is_none() {
        for url in ["amqp://host/%2f", "amqp://a@host/%2f", "amqp://:b@host", "http://a:b@host"] {
            assert!(user(url).is_none(), "{url}");
        }
    }

    #[test]
    fn the_administrator_is_the_broker_s_unless_the_management_url_names_one() {
        let management = |url: &str, broker: &str| {
            let management = Management::new(&url.to_owned().into(), &broker.to_owned().into())?;
            Some((management.address, management.authorization.expose_secret().to_owned()))
        };
        // `admin:pw` and `other:pw`.
        let (admin, other) = ("Basic YWRtaW46cHc=", "Basic b3RoZXI6cHc=");
        assert_eq!(
            management("http://h:15672/", "amqp://admin:pw@h"),
            Some(("http://h:15672".to_owned(), admin.to_owned()))
        );
        assert_eq!(
            management("https://other:pw@h/base/", "amqp://admin:pw@h"),
            Some(("https://h/base".to_owned(), other.to_owned()))
        );
        assert_eq!(management("http://h:15672/", "amqp://h"), None);
    }
}
