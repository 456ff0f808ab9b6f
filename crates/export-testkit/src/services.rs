//! Where the real services of a test run are.

use std::env;

/// Connection string of a MongoDB that does not exist: no program listens on port 1.
pub const UNREACHABLE_MONGODB_URI: &str = "mongodb://127.0.0.1:1/?replicaSet=rs0";

/// Addresses and keys of the services, which `cargo xtask test` passes to every test.
#[derive(Clone)]
pub struct Services {
    /// `TEST_MONGODB_URI`: a replica set of at least one node, with an administrator's user.
    pub mongodb_uri: String,
    /// `TEST_RABBITMQ_URL`: AMQP 0-9-1.
    pub rabbitmq_url: String,
    /// `TEST_RABBITMQ_MANAGEMENT_URL`: the broker's HTTP API, for the user of `rabbitmq_url`.
    pub rabbitmq_management_url: String,
    /// `TEST_S3_ENDPOINT_URL`: any S3-compatible server, addressed by path.
    pub s3_endpoint_url: String,
    /// `TEST_S3_ACCESS_KEY_ID`.
    pub s3_access_key_id: String,
    /// `TEST_S3_SECRET_ACCESS_KEY`.
    pub s3_secret_access_key: String,
}

impl Services {
    /// Reads the variables named at the fields; panics with the name of a missing one.
    pub fn from_environment() -> Self {
        Self {
            mongodb_uri: required("TEST_MONGODB_URI"),
            rabbitmq_url: required("TEST_RABBITMQ_URL"),
            rabbitmq_management_url: required("TEST_RABBITMQ_MANAGEMENT_URL"),
            s3_endpoint_url: required("TEST_S3_ENDPOINT_URL"),
            s3_access_key_id: required("TEST_S3_ACCESS_KEY_ID"),
            s3_secret_access_key: required("TEST_S3_SECRET_ACCESS_KEY"),
        }
    }

    /// Host and port of a MongoDB node, for a proxy in front of it.
    pub fn mongodb_address(&self) -> &str {
        self.mongodb_parts().1
    }

    /// Connection string of the same node and user, with this address.
    pub fn mongodb_uri_through(&self, address: &str) -> String {
        self.mongodb_uri_of(self.mongodb_parts().0, address)
    }

    /// Connection string of another user. Panics when the server has no users.
    pub fn mongodb_uri_as(&self, name: &str, password: &str) -> String {
        let (user, address) = self.mongodb_parts();
        assert!(
            !user.is_empty(),
            "TEST_MONGODB_URI names no user: the tests need a MongoDB with authentication"
        );
        self.mongodb_uri_of(&format!("{name}:{password}@"), address)
    }

    fn mongodb_uri_of(&self, user: &str, address: &str) -> String {
        let source = self.mongodb_uri.split(['?', '&']).find(|option| option.starts_with("authSource="));
        let source = source.map(|source| format!("&{source}")).unwrap_or_default();
        format!("mongodb://{user}{address}/?directConnection=true{source}")
    }

    /// The user with its `@`, empty if there is none, and the first address.
    fn mongodb_parts(&self) -> (&str, &str) {
        let rest = self.mongodb_uri.split_once("://").map_or("", |(_, rest)| rest);
        let (user, rest) = rest.split_at(rest.find('@').map_or(0, |at| at + 1));
        (user, rest.split(['/', '?', ',']).next().unwrap_or_default())
    }
}

fn required(name: &str) -> String {
    match env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!("{name} is not set: tests run on real services, run them with `cargo xtask test`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(mongodb_uri: &str) -> Services {
        Services {
            mongodb_uri: mongodb_uri.to_owned(),
            rabbitmq_url: String::new(),
            rabbitmq_management_url: String::new(),
            s3_endpoint_url: String::new(),
            s3_access_key_id: String::new(),
            s3_secret_access_key: String::new(),
        }
    }

    #[test]
    fn a_connection_string_goes_by_another_way_or_user() {
        let plain = services("mongodb://h:1,i:2/?replicaSet=rs0");
        assert_eq!(plain.mongodb_address(), "h:1");
        assert_eq!(plain.mongodb_uri_through("p:9"), "mongodb://p:9/?directConnection=true");
        let with_user = services("mongodb://a:b@h:1/?replicaSet=rs0&authSource=admin");
        assert_eq!(with_user.mongodb_address(), "h:1");
        assert_eq!(
            with_user.mongodb_uri_through("p:9"),
            "mongodb://a:b@p:9/?directConnection=true&authSource=admin"
        );
        assert_eq!(
            with_user.mongodb_uri_as("c", "d"),
            "mongodb://c:d@h:1/?directConnection=true&authSource=admin"
        );
    }
}
