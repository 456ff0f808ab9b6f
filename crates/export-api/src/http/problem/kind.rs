//! Every kind of problem, in one list, so that a test can compare it with the documentation.

use axum::http::StatusCode;
use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// Prefix of every `type`.
const NAMESPACE: &str = "urn:exports:problem:";

macro_rules! problem_types {
    ($($(#[$doc:meta])* $kind:ident = $status:ident, $name:literal, $title:literal;)+) => {
        /// A kind of problem, which clients recognise by its `type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemType {
            $($(#[$doc])* $kind,)+
        }

        impl ProblemType {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The HTTP status code.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)+ }
            }

            /// The last part of `type`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// Short description.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)+ }
            }
        }
    };
}

problem_types! {
    /// The request cannot be parsed.
    Malformed = BAD_REQUEST, "malformed", "The request cannot be read";
    /// The query has unknown, repeated or invalid parameters.
    InvalidQuery = BAD_REQUEST, "invalid-query", "The query does not fit";
    /// The request has no valid credentials.
    Unauthorized = UNAUTHORIZED, "unauthorized", "The caller is not known";
    /// The caller does not have the required scope.
    Forbidden = FORBIDDEN, "forbidden", "The caller may not do this";
    /// The token is valid, but a required claim is missing or invalid.
    UnusableToken = FORBIDDEN, "unusable-token", "The token does not say enough";
    /// A page of another origin sent the request.
    ForeignOrigin = FORBIDDEN, "foreign-origin", "Web pages of other origins may not use this service";
    /// The request names another host than this service.
    Misdirected = MISDIRECTED_REQUEST, "misdirected", "The service does not have this name";
    /// There is no such job.
    UnknownJob = NOT_FOUND, "unknown-job", "No such export";
    /// The job has no object of this name.
    UnknownObject = NOT_FOUND, "unknown-object", "No such object";
    /// There is no such path.
    UnknownPath = NOT_FOUND, "unknown-path", "No such path";
    /// The path has other methods.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "The path does not have this method";
    /// The body did not arrive in time.
    BodyTooSlow = REQUEST_TIMEOUT, "body-too-slow", "The request took too long to arrive";
    /// The job has no result, or none yet.
    NoResult = CONFLICT, "no-result", "The export has no result";
    /// The job has ended.
    AlreadyEnded = CONFLICT, "already-ended", "The export has ended";
    /// The result has expired.
    ResultExpired = GONE, "result-expired", "The export's files are gone";
    /// The body is too large.
    TooLarge = PAYLOAD_TOO_LARGE, "too-large", "The request is too large";
    /// The path with its query is too long.
    TargetTooLong = URI_TOO_LONG, "target-too-long", "The path is too long";
    /// The body is not declared as JSON.
    MediaType = UNSUPPORTED_MEDIA_TYPE, "media-type", "The request is not JSON";
    /// The request is valid JSON, but its fields are invalid.
    InvalidRequest = UNPROCESSABLE_ENTITY, "invalid-request", "The request cannot be served as it is";
    /// Another request used the idempotency key before.
    IdempotencyKeyTaken =
        UNPROCESSABLE_ENTITY, "idempotency-key-taken", "The Idempotency-Key belongs to another request";
    /// The tenant's results take as many bytes as they may.
    StorageFull = UNPROCESSABLE_ENTITY, "storage-full", "The tenant has stored as much as it may";
    /// The caller has exceeded its rate limit or its limit of concurrent requests.
    TooManyRequests = TOO_MANY_REQUESTS, "too-many-requests", "Too many requests";
    /// The tenant has the maximum number of queued jobs.
    QueueFull = TOO_MANY_REQUESTS, "queue-full", "Too many exports wait";
    /// All tenants together have the maximum number of queued jobs.
    ServiceFull = TOO_MANY_REQUESTS, "service-full", "The service has as many exports as it takes";
    /// The headers are too large.
    HeadersTooLarge =
        REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "The headers of the request are too large";
    /// A defect of the service.
    Internal = INTERNAL_SERVER_ERROR, "internal", "The service failed";
    /// A required service is unavailable, or this process is overloaded.
    Unavailable = SERVICE_UNAVAILABLE, "unavailable", "The service cannot do this now";
}

impl ProblemType {
    /// The value of `type`.
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
    /// An open list: a client that was generated earlier must accept a new kind.
    fn schema() -> RefOr<Schema> {
        let uris: Vec<_> = Self::ALL.iter().map(|kind| kind.uri()).collect();
        let description = "Identifies the kind of problem. docs/api.md lists all kinds. A later version may have \
                           others: treat a kind that you do not know by its status.";
        ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .description(Some(description))
            .format(Some(SchemaFormat::Custom("uri".to_owned())))
            .extensions(Some(Extensions::builder().add("x-extensible-enum", uris).build()))
            .into()
    }
}

impl ToSchema for ProblemType {}
