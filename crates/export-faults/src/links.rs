//! One process's connections to the services, each through its own proxy.

use export_testkit::proxy::Proxy;
use export_testkit::services::Services;

/// Proxies in front of the services, for one process: a fault here affects only this process.
pub struct Links {
    /// To MongoDB.
    pub mongodb: Proxy,
    /// To RabbitMQ.
    pub rabbitmq: Proxy,
    /// To S3.
    pub s3: Proxy,
    services: Services,
}

impl Links {
    /// Proxies to these services.
    pub async fn to(services: &Services) -> Self {
        let (_, rabbitmq, _) = split(&services.rabbitmq_url);
        let (_, s3, _) = split(&services.s3_endpoint_url);
        Self {
            mongodb: Proxy::start(services.mongodb_address().to_owned()).await,
            rabbitmq: Proxy::start(rabbitmq.to_owned()).await,
            s3: Proxy::start(s3.to_owned()).await,
            services: services.clone(),
        }
    }

    /// MongoDB through the proxy. A direct connection: a driver that knows the replica set would go
    /// around it.
    pub(crate) fn mongodb_uri(&self) -> String {
        self.services.mongodb_uri_through(&self.mongodb.address().to_string())
    }

    /// RabbitMQ through the proxy.
    pub(crate) fn rabbitmq_url(&self) -> String {
        let (before, _, after) = split(&self.services.rabbitmq_url);
        format!("{before}{}{after}", self.rabbitmq.address())
    }

    /// S3 through the proxy.
    pub(crate) fn s3_endpoint_url(&self) -> String {
        format!("http://{}", self.s3.address())
    }
}

/// The part of a URI before `host:port`, credentials included, then `host:port`, then the rest.
pub(crate) fn split(uri: &str) -> (&str, &str, &str) {
    let authority = uri.find("://").map_or(0, |index| index + 3);
    let end = uri[authority..].find(['/', '?']).map_or(uri.len(), |index| authority + index);
    let host = uri[authority..end].rfind('@').map_or(authority, |index| authority + index + 1);
    (&uri[..host], &uri[host..end], &uri[end..])
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn an_address_and_what_is_around_it() {
        assert_eq!(split("amqp://guest:guest@mq:3/%2f"), ("amqp://guest:guest@", "mq:3", "/%2f"));
        assert_eq!(split("http://127.0.0.1:4"), ("http://", "127.0.0.1:4", ""));
    }
}
