//! What can go wrong with the object store.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// An operation on S3 failed.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// No region is set, and the SDK found none.
    #[error(
        "setting AWS_REGION is missing: the region of the result bucket (any, such as us-east-1, for S3-compatible servers)"
    )]
    NoRegion,
    /// The bucket is not there.
    #[error("the bucket {0} does not exist")]
    NoBucket(String),
    /// The key may not see the bucket.
    #[error("the key may not look at the bucket {0} (s3:ListBucket), or is wrong")]
    AccessDenied(String),
    /// The server refused, failed or was not there.
    #[error("S3 did not do it: {operation} ({code})")]
    Sdk {
        /// What was tried.
        operation: &'static str,
        /// S3's name for the error, or the kind of failure.
        code: String,
        /// The SDK's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The writer ended before the object was whole.
    #[error("the result was not written to its end")]
    Unfinished,
    /// The object has as many parts as S3 takes, each as large as the memory budget allows, and does not end.
    #[error(
        "the result has {bytes} bytes and does not end, but S3 takes no more than 10,000 parts and they cannot be larger: \
         raise MEMORY_BUDGET_MB, or export less at a time"
    )]
    TooLarge {
        /// Bytes of the object so far.
        bytes: u64,
    },
    /// An address of the result cannot be built.
    #[error("a download link cannot be made")]
    Presigning(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl S3Error {
    pub(crate) fn sdk<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        move |error| {
            let kind = match &error {
                SdkError::TimeoutError(_) => "timed out",
                SdkError::DispatchFailure(_) => "not reachable",
                SdkError::ConstructionFailure(_) => "request not possible",
                _ => "unexpected answer",
            };
            let code = error.code().unwrap_or(kind).to_owned();
            Self::Sdk { operation, code, source: Box::new(error) }
        }
    }
}
