//! Gives a test its own databases, queues and bucket on the real services.

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_http_client::tls;
use bson::Document;
use mongodb::Client;
use uuid::Uuid;

use crate::oddities::OddFleet;
use crate::proxy::Proxy;
use crate::services::Services;

/// Names that no other test uses, and clients to fill and inspect the services under these names.
///
/// Call [`TestSpace::cleanup`] at the end of the test. The data of a failed test stays for
/// inspection, and is removed with the services.
pub struct TestSpace {
    /// Where the services are.
    pub services: Services,
    /// Eight hexadecimal digits, part of every other name.
    pub id: String,
    /// Database of the jobs, for instance `exports_t1a2b3c4d`.
    pub jobs_database: String,
    /// Prefix of the databases of this test's vehicles, for instance `t1a2b3c4d_vehicle_`.
    pub vehicle_prefix: String,
    /// Base name of exchanges and queues, for instance `exports-t1a2b3c4d`.
    pub topology: String,
    /// Bucket of this test; it exists.
    pub bucket: String,
    /// Client of the database server.
    pub mongodb: Client,
    /// Client of the object store, addressing by path.
    pub s3: aws_sdk_s3::Client,
}

impl TestSpace {
    /// Picks the names and creates the bucket. Panics when a service is missing or does not answer.
    pub async fn create() -> Self {
        Self::create_on(Services::from_environment()).await
    }

    /// Like [`create`](Self::create), with a proxy in front of MongoDB: the services reach it only
    /// through the proxy, and [`Self::mongodb`] directly.
    pub async fn create_behind_mongodb_proxy() -> (Self, Proxy) {
        let mut space = Self::create().await;
        let proxy = Proxy::start(space.services.mongodb_address().to_owned()).await;
        space.services.mongodb_uri = space.services.mongodb_uri_through(&proxy.address().to_string());
        (space, proxy)
    }

    /// Like [`create`](Self::create), on these services.
    pub async fn create_on(services: Services) -> Self {
        let uuid = Uuid::new_v4().simple().to_string();
        let id = uuid[..8].to_owned();
        let mongodb = Client::with_uri_str(&services.mongodb_uri)
            .await
            .unwrap_or_else(|error| panic!("TEST_MONGODB_URI cannot be used: {error}"));
        let s3 =
            s3_client(&services.s3_endpoint_url, &services.s3_access_key_id, &services.s3_secret_access_key);
        let bucket = format!("exports-t{id}");
        if let Err(error) = s3.create_bucket().bucket(&bucket).send().await {
            panic!("bucket {bucket} cannot be made at {}: {error:?}", services.s3_endpoint_url);
        }
        Self {
            jobs_database: format!("exports_t{id}"),
            vehicle_prefix: format!("t{id}_vehicle_"),
            topology: format!("exports-t{id}"),
            id,
            bucket,
            services,
            mongodb,
            s3,
        }
    }

    /// Name of the vehicle database with this suffix, for instance `t1a2b3c4d_vehicle_001`.
    pub fn vehicle(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.vehicle_prefix)
    }

    /// Stores hour documents of one vehicle and parameter; without documents, creates an empty
    /// collection. Panics when the database refuses.
    pub async fn insert_hours(&self, vehicle_suffix: &str, parameter: &str, hours: Vec<Document>) {
        let database = self.mongodb.database(&self.vehicle(vehicle_suffix));
        let outcome = if hours.is_empty() {
            database.create_collection(parameter).await
        } else {
            database.collection(parameter).insert_many(hours).await.map(drop)
        };
        if let Err(error) = outcome {
            panic!("{}.{parameter} cannot be filled: {error}", self.vehicle(vehicle_suffix));
        }
    }

    /// Stores a whole fleet of odd vehicles.
    pub async fn insert_fleet(&self, fleet: &OddFleet) {
        for vehicle in &fleet.vehicles {
            for (parameter, hours) in &vehicle.collections {
                self.insert_hours(vehicle.suffix, parameter, hours.clone()).await;
            }
        }
    }

    /// Keys of the objects in this test's bucket, sorted. Panics when the store refuses.
    pub async fn object_keys(&self) -> Vec<String> {
        let mut pages = self.s3.list_objects_v2().bucket(&self.bucket).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page =
                page.unwrap_or_else(|error| panic!("bucket {} cannot be listed: {error:?}", self.bucket));
            keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        keys.sort();
        keys
    }

    /// Content of the object with this key in this test's bucket. Panics when it does not exist.
    pub async fn object(&self, key: &str) -> Vec<u8> {
        let object = self.s3.get_object().bucket(&self.bucket).key(key).send().await;
        let object = object.unwrap_or_else(|error| panic!("object {key} cannot be read: {error:?}"));
        let content = object.body.collect().await;
        content.unwrap_or_else(|error| panic!("object {key} ends early: {error}")).to_vec()
    }

    /// Removes this test's databases and bucket. Best effort: a failure here does not fail the
    /// test.
    pub async fn cleanup(self) {
        for name in self.mongodb.list_database_names().await.unwrap_or_default() {
            if name == self.jobs_database || name.starts_with(&self.vehicle_prefix) {
                let _ = self.mongodb.database(&name).drop().await;
            }
        }
        for key in self.object_keys().await {
            let _ = self.s3.delete_object().bucket(&self.bucket).key(key).send().await;
        }
        let _ = self.s3.delete_bucket().bucket(&self.bucket).send().await;
    }
}

/// A client of an S3-compatible server at `endpoint_url`, with path-style addresses. Ignores the
/// settings of the environment and of the developer's AWS profile.
pub fn s3_client(endpoint_url: &str, access_key_id: &str, secret_access_key: &str) -> aws_sdk_s3::Client {
    let http_client = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint_url)
        .credentials_provider(Credentials::new(access_key_id, secret_access_key, None, None, "testkit"))
        .force_path_style(true)
        .http_client(http_client)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}
