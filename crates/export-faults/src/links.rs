//! One process's ways to the services, each through a proxy of its own.

use export_testkit::proxy::Proxy;
use export_testkit::services::Services;

/// Proxies in front of the services, for one process: what breaks here breaks for nobody else.
pub struct Links {
    /// To MongoDB.
    pub mongodb: Proxy,
    /// To RabbitMQ.
    pub rabbitmq: Proxy,
    /// To S3.
    pub s3: Proxy,
    mongodb_uri: String,
    rabbitmq_url: String,
}

impl Links {
    /// Proxies to these services.
    pub async fn to(services: &Services) -> Self {
        let (_, mongodb, _) = split(&services.mongodb_uri);
        let (_, rabbitmq, _) = split(&services.rabbitmq_url);
        let (_, s3, _) = split(&services.s3_endpoint_url);
        Self {
            mongodb: Proxy::start(mongodb.to_owned()).await,
            rabbitmq: Proxy::start(rabbitmq.to_owned()).await,
            s3: Proxy::start(s3.to_owned()).await,
            mongodb_uri: services.mongodb_uri.clone(),
            rabbitmq_url: services.rabbitmq_url.clone(),
        }
    }

    /// MongoDB through the proxy. A direct connection: a driver that knows the replica set would go around it.
    pub(crate) fn mongodb_uri(&self) -> String {
        direct(&self.mongodb_uri, &self.mongodb.address().to_string())
    }

    /// RabbitMQ through the proxy.
    pub(crate) fn rabbitmq_url(&self) -> String {
        let (before, _, after) = split(&self.rabbitmq_url);
        format!("{before}{}{after}", self.rabbitmq.address())
    }

    /// S3 through the proxy.
    pub(crate) fn s3_endpoint_url(&self) -> String {
        format!("http://{}", self.s3.address())
    }
}

/// A MongoDB URI that leads to this address and nowhere else.
fn direct(uri: &str, address: &str) -> String {
    let (before, _, after) = split(uri);
    let (path, query) = after.split_once('?').unwrap_or((after, ""));
    let path = if path.is_empty() { "/" } else { path };
    let options = query.split('&').filter(|option| {
        !option.is_empty() && !option.starts_with("replicaSet=") && !option.starts_with("directConnection=")
    });
    let query: Vec<&str> = options.chain(["directConnection=true"]).collect();
    format!("{before}{address}{path}?{}", query.join("&"))
}

/// What stands before `host:port` in a URI, credentials included, then that, then what follows.
fn split(uri: &str) -> (&str, &str, &str) {
    let authority = uri.find("://").map_or(0, |index| index + 3);
    let end = uri[authority..].find(['/', '?']).map_or(uri.len(), |index| authority + index);
    let host = uri[authority..end].rfind('@').map_or(authority, |index| authority + index + 1);
    (&uri[..host], &uri[host..end], &uri[end..])
}

#[cfg(test)]
mod tests {
    use super::{direct, split};

    #[test]
    fn addresses_are_replaced_and_the_rest_is_kept() {
        assert_eq!(
            direct("mongodb://user:p%40ss@db:1/?replicaSet=rs0&authSource=admin", "127.0.0.1:2"),
            "mongodb://user:p%40ss@127.0.0.1:2/?authSource=admin&directConnection=true"
        );
        assert_eq!(direct("mongodb://db:1", "127.0.0.1:2"), "mongodb://127.0.0.1:2/?directConnection=true");
        assert_eq!(split("amqp://guest:guest@mq:3/%2f"), ("amqp://guest:guest@", "mq:3", "/%2f"));
        assert_eq!(split("http://127.0.0.1:4"), ("http://", "127.0.0.1:4", ""));
    }
}
