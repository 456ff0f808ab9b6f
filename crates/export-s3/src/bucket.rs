//! The result bucket.

use std::num::NonZeroU32;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Credentials, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::head_bucket::HeadBucketError;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use aws_smithy_http_client::Builder as HttpClientBuilder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use export_settings::s3::S3Settings;
use export_settings::{ExposeSecret, SecretString};
use tracing::warn;

use crate::error::S3Error;

/// Error code of older servers for requests with many keys or rules, which they only accept with an
/// MD5 of the content. The SDK sends newer checksums.
pub(crate) const MISSING_MD5: &str = "MissingContentMD5";
/// Error codes of servers for operations that they do not support, or not in the form in which the
/// SDK sends them.
const UNKNOWN_OPERATION: [&str; 8] = [
    "NotImplemented",
    "MethodNotAllowed",
    MISSING_MD5,
    "InvalidDigest",
    "InvalidRequest",
    "InvalidArgument",
    "MalformedXML",
    "NotFound",
];
/// Timeout of one attempt of a request; enough for the largest part (64 MiB) at 9 Mbit/s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_mins(1);
/// Timeout of a request with all its attempts.
const OPERATION_TIMEOUT: Duration = Duration::from_mins(3);
/// Timeout of connecting. There is no read timeout, because the SDK's would include the time to
/// send a part.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts of one request. When they fail, the whole job is retried.
const MAX_ATTEMPTS: u32 = 3;
/// S3's error code for a valid key without the right to the operation.
const ACCESS_DENIED: &str = "AccessDenied";
const FORBIDDEN: u16 = 403;

/// An S3 server with its key, for tests and tools that do not use the SDK's settings.
#[derive(Clone, Debug)]
pub struct S3Server {
    /// Its URL.
    pub endpoint_url: String,
    /// The key's id.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: SecretString,
}

/// The result bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ResultBucket {
    pub(crate) client: Client,
    /// Only signs links; never connects.
    pub(crate) signer: Client,
    pub(crate) settings: S3Settings,
}

impl ResultBucket {
    /// Prepares the client from the SDK's settings (`AWS_*` variables, profiles, instance roles).
    /// Connects only to the source of the credentials, if that needs a connection.
    pub async fn from_environment(settings: S3Settings) -> Result<Self, S3Error> {
        Self::prepare(settings, aws_config::defaults(BehaviorVersion::latest())).await
    }

    /// Prepares the client for this server.
    pub async fn at(server: &S3Server, settings: S3Settings) -> Result<Self, S3Error> {
        let secret = server.secret_access_key.expose_secret();
        let credentials = Credentials::new(&server.access_key_id, secret, None, None, "given");
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&server.endpoint_url)
            .credentials_provider(credentials);
        Self::prepare(settings, loader).await
    }

    async fn prepare(settings: S3Settings, loader: ConfigLoader) -> Result<Self, S3Error> {
        let http = HttpClientBuilder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let shared = loader.http_client(http).load().await;
        if shared.region().is_none() {
            return Err(S3Error::NoRegion);
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        let config = Builder::from(&shared)
            .force_path_style(settings.force_path_style)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .request_checksum_calculation(RequestChecksumCalculation::WhenSupported);
        let signer = match &settings.public_endpoint_url {
            Some(url) => config.clone().endpoint_url(url),
            None => config.clone(),
        };
        Ok(Self {
            client: Client::from_conf(config.build()),
            signer: Client::from_conf(signer.build()),
            settings,
        })
    }

    /// The prefix of all keys.
    pub fn key_prefix(&self) -> &str {
        &self.settings.key_prefix
    }

    /// The `s3://` URI of an object, as clients see it.
    pub fn uri(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.settings.bucket)
    }

    /// Checks that the bucket exists and the key is valid.
    ///
    /// It does not check the key's rights: the services' keys have no right to the bucket itself,
    /// only to objects in it.
    pub async fn check(&self) -> Result<(), S3Error> {
        match self.head().await {
            Err(S3Error::AccessDenied(_)) => self.check_key().await,
            outcome => outcome,
        }
    }

    async fn head(&self) -> Result<(), S3Error> {
        let bucket = &self.settings.bucket;
        match self.client.head_bucket().bucket(bucket).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(HeadBucketError::is_not_found) => {
                Err(S3Error::NoBucket(bucket.clone()))
            }
            Err(error)
                if error.raw_response().is_some_and(|answer| answer.status().as_u16() == FORBIDDEN) =>
            {
                Err(S3Error::AccessDenied(bucket.clone()))
            }
            Err(error) => Err(S3Error::sdk("checking the bucket")(error)),
        }
    }

    /// Distinguishes a valid key without rights from a wrong key. The answer to a HEAD request has
    /// no body and so no reason. The services' keys have no right to this request either, but its
    /// answer names the reason.
    async fn check_key(&self) -> Result<(), S3Error> {
        match self.client.get_bucket_location().bucket(&self.settings.bucket).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(ACCESS_DENIED) => Ok(()),
            Err(error) => Err(S3Error::sdk("checking the key")(error)),
        }
    }

    /// Creates the bucket, if it does not exist, and sets its lifecycle rules. Safe to repeat. The
    /// bucket deletes results a grace period after their retention (`GRACE_DAYS` in `lifecycle`).
    pub async fn provision(&self, retention_days: NonZeroU32) -> Result<(), S3Error> {
        match self.head().await {
            Ok(()) => {}
            Err(S3Error::NoBucket(bucket)) => self.create(bucket).await?,
            Err(error) => return Err(error),
        }
        match self.put_lifecycle(retention_days).await {
            // Some S3-compatible servers have no lifecycle rules, so results and parts of
            // interrupted uploads stay.
            Err(S3Error::Sdk { code, .. }) if UNKNOWN_OPERATION.contains(&code.as_str()) => {
                warn!(
                    code,
                    "this S3 server refuses lifecycle rules: old results and interrupted uploads are not deleted"
                );
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Creates the bucket in the client's region. AWS does not accept us-east-1 as a location
    /// constraint.
    async fn create(&self, bucket: String) -> Result<(), S3Error> {
        let region = self.client.config().region().map(ToString::to_string);
        let location = region.filter(|region| region != "us-east-1").map(|region| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region.as_str()))
                .build()
        });
        let made =
            self.client.create_bucket().bucket(bucket).set_create_bucket_configuration(location).send().await;
        made.map(drop).map_err(S3Error::sdk("creating the bucket"))
    }
}
