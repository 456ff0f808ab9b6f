//! The services over TLS, with certificates of an authority that belongs to the test.

use export_testkit::services::Services;
use export_testkit::tls::{Authority, TlsListener};

use crate::links::split;

/// Listeners that speak TLS in front of the services, and the settings that name them.
pub struct TlsLinks {
    services: Services,
    mongodb: TlsListener,
    rabbitmq: TlsListener,
    management: TlsListener,
    s3: TlsListener,
}

impl TlsLinks {
    /// In front of these services, with certificates for the listeners' own address.
    pub async fn to(services: &Services, authority: &Authority) -> Self {
        Self::to_as(services, authority, "127.0.0.1").await
    }

    /// Like [`to`](Self::to), with certificates for this name.
    pub async fn to_as(services: &Services, authority: &Authority, name: &str) -> Self {
        let listener = async |uri: &str| {
            let (_, address, _) = split(uri);
            TlsListener::start_as(authority, name, address.to_owned()).await
        };
        Self {
            mongodb: TlsListener::start_as(authority, name, services.mongodb_address().to_owned()).await,
            rabbitmq: listener(&services.rabbitmq_url).await,
            management: listener(&services.rabbitmq_management_url).await,
            s3: listener(&services.s3_endpoint_url).await,
            services: services.clone(),
        }
    }

    /// The value of `MONGODB_URI`. A direct connection: a driver that knows the replica set would
    /// go around the listener.
    pub fn mongodb_uri(&self) -> String {
        format!("{}&tls=true", self.services.mongodb_uri_through(&self.mongodb.address().to_string()))
    }

    /// The value of `RABBITMQ_URL`.
    pub fn rabbitmq_url(&self) -> String {
        self.rabbitmq_url_as("").unwrap_or_else(|| panic!("TEST_RABBITMQ_URL is not amqp://"))
    }

    /// The same of another user, `name:password@`; the tests' own where that is empty.
    fn rabbitmq_url_as(&self, user: &str) -> Option<String> {
        let (before, _, after) = split(&self.services.rabbitmq_url);
        let own_user = before.strip_prefix("amqp://")?;
        let user = if user.is_empty() { own_user } else { user };
        Some(format!("amqps://{user}{}{after}", self.rabbitmq.address()))
    }

    /// The values of `RABBITMQ_MANAGEMENT_URL` and, for a user that does not exist yet, of
    /// `API_RABBITMQ_URL`.
    pub fn rabbitmq_users(&self, name: &str) -> [(&'static str, String); 2] {
        let (before, _, _) = split(&self.services.rabbitmq_management_url);
        let user = before.split_once("://").map_or("", |(_, user)| user);
        let api = self.rabbitmq_url_as(&format!("{name}:{name}@"));
        [
            ("RABBITMQ_MANAGEMENT_URL", format!("https://{user}{}", self.management.address())),
            ("API_RABBITMQ_URL", api.unwrap_or_else(|| panic!("TEST_RABBITMQ_URL is not amqp://"))),
        ]
    }

    /// The value of `AWS_ENDPOINT_URL_S3`.
    pub fn s3_endpoint_url(&self) -> String {
        format!("https://{}", self.s3.address())
    }

    /// The settings of a program that reaches every service over TLS.
    pub fn settings(&self) -> [(&'static str, String); 3] {
        [
            ("MONGODB_URI", self.mongodb_uri()),
            ("RABBITMQ_URL", self.rabbitmq_url()),
            ("AWS_ENDPOINT_URL_S3", self.s3_endpoint_url()),
        ]
    }
}
