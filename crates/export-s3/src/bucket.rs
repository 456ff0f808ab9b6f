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

/// What servers answer to operations that they do not have.
const UNKNOWN_OPERATION: [&str; 2] = ["NotImplemented", "MethodNotAllowed"];
/// Limit on one try of a request; a part of 8 MiB must get through in it.
const ATTEMPT: Duration = Duration::from_mins(1);
/// Limit on a request with all its tries.
const OPERATION: Duration = Duration::from_mins(3);
/// Limit on connecting. (No limit on reading of its own: the SDK's would count the sending of a part, too.)
const CONNECT: Duration = Duration::from_secs(5);
/// Tries of one request; a whole attempt of the job stands behind them.
const TRIES: u32 = 3;
/// How a request is answered whose key is known and has not this right.
const ACCESS_DENIED: &str = "AccessDenied";
const FORBIDDEN: u16 = 403;

/// An S3 server that is named outright, instead of found by the SDK's own settings. For tests and tools.
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
    /// Signs links only; never connects.
    pub(crate) signer: Client,
    pub(crate) settings: S3Settings,
}

impl ResultBucket {
    /// Prepares the client from the SDK's own settings (`AWS_*` variables, profiles, instance roles). Connects to
    /// nothing but what the credentials' source may need.
    pub async fn from_environment(settings: S3Settings) -> Result<Self, S3Error> {
        Self::prepare(settings, aws_config::defaults(BehaviorVersion::latest())).await
    }

    /// Prepares the client for a server that is named outright.
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
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(OPERATION)
            .build();
        let config = Builder::from(&shared)
            .force_path_style(settings.force_path_style)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
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

    /// What keys begin with.
    pub fn key_prefix(&self) -> &str {
        &self.settings.key_prefix
    }

    /// The address of an object, as told to clients.
    pub fn uri(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.settings.bucket)
    }

    /// Whether the bucket can be reached with a valid key.
    ///
    /// Not whether the key may do anything with it: the services' keys may not even look at the bucket, and that is as it should be.
    pub async fn check(&self) -> Result<(), S3Error> {
        match self.look().await {
            Err(S3Error::AccessDenied(_)) => self.check_key().await,
            outcome => outcome,
        }
    }

    async fn look(&self) -> Result<(), S3Error> {
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
            Err(error) => Err(S3Error::sdk("look at the bucket")(error)),
        }
    }

    /// Tells a key without rights from one that is wrong. The answer to a look has no body, so both look the same there; this
    /// question needs a right that the services do not have either, but its answer says why.
    async fn check_key(&self) -> Result<(), S3Error> {
        match self.client.get_bucket_location().bucket(&self.settings.bucket).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(ACCESS_DENIED) => Ok(()),
            Err(error) => Err(S3Error::sdk("use the bucket's key")(error)),
        }
    }

    /// Makes the bucket and its lifecycle rules; harmless when they are there. Results are removed after `retention_days` and one
    /// more.
    pub async fn provision(&self, retention_days: NonZeroU32) -> Result<(), S3Error> {
        match self.look().await {
            Ok(()) => {}
            Err(S3Error::NoBucket(bucket)) => self.create(bucket).await?,
            Err(error) => return Err(error),
        }
        match self.put_lifecycle(retention_days).await {
            // Some S3-compatible servers know no lifecycles. Without one, results and the parts of interrupted uploads stay.
            Err(S3Error::Sdk { code, .. }) if UNKNOWN_OPERATION.contains(&code.as_str()) => {
                warn!(code, "the bucket has no rules that remove old results and interrupted uploads");
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Makes the bucket where the client's region is. For AWS's first region the place must not be named.
    async fn create(&self, bucket: String) -> Result<(), S3Error> {
        let region = self.client.config().region().map(ToString::to_string);
        let place = region.filter(|region| region != "us-east-1").map(|region| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region.as_str()))
                .build()
        });
        let made =
            self.client.create_bucket().bucket(bucket).set_create_bucket_configuration(place).send().await;
        made.map(drop).map_err(S3Error::sdk("create the bucket"))
    }
}
