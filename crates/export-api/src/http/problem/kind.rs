//! The kinds of problem: all there are, so that documentation and code can be compared.

use axum::http::StatusCode;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, schema::SchemaType};
use utoipa::{PartialSchema, ToSchema};

/// What every `type` begins with.
const NAMESPACE: &str = "urn:exports:problem:";

macro_rules! problem_types {
    ($($(#[$doc:meta])* $kind:ident = $status:ident, $name:literal, $title:literal;)+) => {
        /// A kind of problem; clients tell them apart by their `type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemType {
            $($(#[$doc])* $kind,)+
        }

        impl ProblemType {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The status code of its answers.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)+ }
            }

            const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// The kind in words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)+ }
            }
        }
    };
}

problem_types! {
    /// The request cannot be read at all.
    Malformed = BAD_REQUEST, "malformed", "The request cannot be read";
    /// The query does not fit the operation.
    InvalidQuery = BAD_REQUEST, "invalid-query", "The query does not fit";
    /// Nobody knows who is calling.
    Unauthorized = UNAUTHORIZED, "unauthorized", "The caller is not known";
    /// The caller may not do this.
    Forbidden = FORBIDDEN, "forbidden", "The caller may not do this";
    /// The token is good, but does not say what it must.
    UnusableToken = FORBIDDEN, "unusable-token", "The token does not say enough";
    /// No such job.
    UnknownJob = NOT_FOUND, "unknown-job", "No such export";
    /// The job has no object of this name.
    UnknownObject = NOT_FOUND, "unknown-object", "No such object";
    /// No such path.
    UnknownPath = NOT_FOUND, "unknown-path", "No such path";
    /// The path has other methods.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "The path does not have this method";
    /// The body did not arrive in time.
    BodyTooSlow = REQUEST_TIMEOUT, "body-too-slow", "The request took too long to arrive";
    /// The result is not there (yet).
    NoResult = CONFLICT, "no-result", "The export has no result";
    /// The job has ended.
    AlreadyEnded = CONFLICT, "already-ended", "The export has ended";
    /// There was a result.
    ResultExpired = GONE, "result-expired", "The export's files are gone";
    /// The body is too large.
    TooLarge = PAYLOAD_TOO_LARGE, "too-large", "The request is too large";
    /// Path and query are too long.
    TargetTooLong = URI_TOO_LONG, "target-too-long", "The path is too long";
    /// The body is not JSON by its own words.
    MediaType = UNSUPPORTED_MEDIA_TYPE, "media-type", "The request is not JSON";
    /// The request can be read, but not served.
    InvalidRequest = UNPROCESSABLE_ENTITY, "invalid-request", "The request cannot be served as it is";
    /// Another request has the key.
    IdempotencyKeyTaken =
        UNPROCESSABLE_ENTITY, "idempotency-key-taken", "The Idempotency-Key belongs to another request";
    /// The caller has had its share.
    TooManyRequests = TOO_MANY_REQUESTS, "too-many-requests", "Too many requests";
    /// The tenant has as many jobs waiting as it may.
    QueueFull = TOO_MANY_REQUESTS, "queue-full", "Too many exports wait";
    /// All tenants together have as many jobs waiting as may.
    ServiceFull = TOO_MANY_REQUESTS, "service-full", "The service has as many exports as it takes";
    /// The headers are too large.
    HeadersTooLarge =
        REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "The headers of the request are too large";
    /// A defect.
    Internal = INTERNAL_SERVER_ERROR, "internal", "The service failed";
    /// Something behind the service is away, or it has too much to do.
    Unavailable = SERVICE_UNAVAILABLE, "unavailable", "The service cannot do this now";
}

impl ProblemType {
    /// The `type` of its answers.
    pub fn uri(self) -> String {
        format!("{NAMESPACE}{}", self.name())
    }
}

impl Serialize for ProblemType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{NAMESPACE}{}", self.name()))
    }
}

impl PartialSchema for ProblemType {
    fn schema() -> RefOr<Schema> {
        let uris = Self::ALL.iter().map(|kind| kind.uri());
        ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .description(Some("Names the kind of problem; docs/api.md tells them all."))
            .enum_values(Some(uris))
            .into()
    }
}

impl ToSchema for ProblemType {}
