//! Errors of the object store.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{BuildError, ProvideErrorMetadata, SdkError};

/// S3's code for content that is larger than the server accepts.
const ENTITY_TOO_LARGE: &str = "EntityTooLarge";
/// HTTP's status for a body that is too large. A proxy in front of a server sends it without an S3
/// code.
const CONTENT_TOO_LARGE: u16 = 413;
/// Error codes of servers that refuse content, its size or its parts, or a request that they do not
/// support. They will refuse the same request again. Errors that an operator may repair, such as
/// denied access or a missing bucket, are not among them.
const REFUSED_CONTENT: [&str; 9] = [
    ENTITY_TOO_LARGE,
    "EntityTooSmall",
    "InvalidPart",
    "InvalidPartOrder",
    "InvalidRequest",
    "InvalidArgument",
    "KeyTooLongError",
    "MethodNotAllowed",
    "NotImplemented",
];

/// Statuses with which a server refuses its client, not the content: wrong or missing rights, and
/// too many requests.
const REFUSED_CLIENT: [u16; 4] = [401, 403, 408, 429];
/// Error codes of a server that does not work or refuses its client, whatever the status: the answer to the completion of
/// an upload can have the status 200 and an error in its body.
const OUTAGE_CODES: [&str; 7] = [
    "ExpiredToken",
    "InternalError",
    "InvalidToken",
    "NoSuchBucket",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
];

/// An operation on S3 failed.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// No region is set.
    #[error(
        "setting AWS_REGION is missing: the region of the result bucket (any, such as us-east-1, for S3-compatible servers)"
    )]
    NoRegion,
    /// The bucket does not exist.
    #[error("the bucket {0} does not exist")]
    NoBucket(String),
    /// The key has no right to the bucket itself, or is wrong.
    #[error("access denied to bucket {0}: the key lacks s3:ListBucket, or is wrong")]
    AccessDenied(String),
    /// The server refused, failed or could not be reached.
    #[error("S3 failed: {operation} ({code})")]
    Sdk {
        /// What failed, such as `uploading a part`.
        operation: &'static str,
        /// S3's error code, or the kind of failure.
        code: String,
        /// Whether the server does not work or refuses its client, whatever is sent to it.
        is_outage: bool,
        /// The SDK's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The writer ended before the object was complete.
    #[error("the result is incomplete")]
    Unfinished,
    /// The object has 10,000 parts, the most that S3 allows. Their size follows from the memory
    /// budget.
    #[error(
        "the result is too large: it has {bytes} bytes so far, in the 10,000 parts that S3 allows, and the memory budget allows \
         no larger parts: raise MEMORY_BUDGET_MB, or export less at a time"
    )]
    TooLarge {
        /// Bytes of the object so far.
        bytes: u64,
    },
    /// The stored name of an object is none that a worker gives.
    #[error("an object of the result has an invalid name")]
    NotAName,
    /// Signing a download link failed.
    #[error("cannot sign a download link")]
    Presigning(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl S3Error {
    /// Whether another attempt to store the result would be refused too.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::TooLarge { .. } => true,
            Self::Sdk { code, .. } => REFUSED_CONTENT.contains(&code.as_str()),
            _ => false,
        }
    }

    /// Whether the object store does not work, or refuses its client: nothing is wrong with the
    /// result, and the same upload succeeds once an operator or the store itself has repaired it.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::NoBucket(_) | Self::AccessDenied(_) => true,
            Self::Sdk { is_outage, .. } => *is_outage,
            _ => false,
        }
    }

    pub(crate) fn sdk<E>(operation: &'static str) -> impl FnOnce(SdkError<E, HttpResponse>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        move |error| {
            let status = error.raw_response().map(|answer| answer.status().as_u16());
            let kind = match &error {
                _ if status == Some(CONTENT_TOO_LARGE) => ENTITY_TOO_LARGE,
                SdkError::TimeoutError(_) => "timed out",
                SdkError::DispatchFailure(_) => "not reachable",
                SdkError::ConstructionFailure(_) => "invalid request",
                _ => "unexpected answer",
            };
            let code = error.code().unwrap_or(kind).to_owned();
            let is_outage = match &error {
                SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
                SdkError::ServiceError(_) => {
                    status.is_some_and(|status| status >= 500 || REFUSED_CLIENT.contains(&status))
                        || OUTAGE_CODES.contains(&code.as_str())
                }
                _ => false,
            };
            Self::Sdk { operation, code, is_outage, source: Box::new(error) }
        }
    }

    /// A request that could not be built.
    pub(crate) fn invalid_request(operation: &'static str) -> impl FnOnce(BuildError) -> Self {
        move |error| Self::Sdk {
            operation,
            code: "invalid request".to_owned(),
            is_outage: false,
            source: Box::new(error),
        }
    }
}
