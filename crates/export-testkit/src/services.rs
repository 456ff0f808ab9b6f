//! Where the real services of a test run are.

use std::env;

/// Addresses and keys of the services, as `cargo xtask test` hands them to every test.
#[derive(Clone)]
pub struct Services {
    /// `TEST_MONGODB_URI`: a replica set, of one node at least.
    pub mongodb_uri: String,
    /// `TEST_RABBITMQ_URL`: AMQP 0-9-1.
    pub rabbitmq_url: String,
    /// `TEST_S3_ENDPOINT_URL`: any S3-compatible server, addressed by path.
    pub s3_endpoint_url: String,
    /// `TEST_S3_ACCESS_KEY_ID`.
    pub s3_access_key_id: String,
    /// `TEST_S3_SECRET_ACCESS_KEY`.
    pub s3_secret_access_key: String,
}

impl Services {
    /// Reads the variables named at the fields; panics with the name of one that is missing.
    pub fn from_environment() -> Self {
        Self {
            mongodb_uri: required("TEST_MONGODB_URI"),
            rabbitmq_url: required("TEST_RABBITMQ_URL"),
            s3_endpoint_url: required("TEST_S3_ENDPOINT_URL"),
            s3_access_key_id: required("TEST_S3_ACCESS_KEY_ID"),
            s3_secret_access_key: required("TEST_S3_SECRET_ACCESS_KEY"),
        }
    }
}

fn required(name: &str) -> String {
    match env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!("{name} is not set: tests run on real services, run them with `cargo xtask test`"),
    }
}
