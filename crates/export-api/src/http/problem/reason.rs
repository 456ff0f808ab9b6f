//! Why requests are refused, in one list: for the log, and as a label of the metric of refusals.

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $label:literal, $text:literal;)+) => {
        /// Why a request was refused: more than the client is told.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Reason {
            $($(#[$doc])* $reason,)+
        }

        impl Reason {
            /// All reasons.
            pub(crate) const ALL: &[Self] = &[$(Self::$reason),+];

            /// The label in the metric.
            pub(crate) const fn label(self) -> &'static str {
                match self { $(Self::$reason => $label,)+ }
            }

            /// The text in the log.
            pub(crate) const fn text(self) -> &'static str {
                match self { $(Self::$reason => $text,)+ }
            }
        }
    };
}

reasons! {
    /// No `Authorization` header.
    NoCredentials = "no_credentials", "no credentials";
    /// Several `Authorization` headers, or another scheme.
    NotBearer = "not_bearer", "not one Authorization header with Bearer";
    /// The credentials do not have the form of a key, and no issuer is configured.
    NotAKey = "not_a_key", "not a key";
    /// No valid key has this id, or an uncached key has another secret.
    UnknownKey = "unknown_key", "unknown, expired or revoked key, or a wrong secret";
    /// The key's id is valid, and its secret is wrong.
    WrongSecret = "wrong_secret", "wrong secret";
    /// The token is not valid.
    InvalidToken = "invalid_token", "invalid token";
    /// The token has no subject that can be logged.
    TokenWithoutSubject = "token_without_subject", "token without a usable subject";
    /// The credentials belong to another tenant than before the wait.
    TenantChanged = "tenant_changed", "the tenant changed during the wait";
    /// Too many unknown keys wait for their lookup.
    KeyLookups = "key_lookups", "lookups of unknown keys";
    /// The address has sent too many requests without a valid key.
    FailuresOfAddress = "failures_of_address", "requests of the address without a valid key";
    /// The address has too many open requests on connections without a valid key.
    WithoutKey = "without_key", "open requests of the address without a valid key";
    /// The job exists in the tenant, and the caller may not see it.
    NotVisible = "not_visible", "not visible to the caller";
    /// The caller's rate limit.
    Rate = "rate", "rate of the caller";
    /// The caller's limit of open requests.
    OpenRequests = "open_requests", "open requests of the caller";
    /// The limit of large answers that the tenant has not read.
    UnreadAnswers = "unread_answers", "unread answers of the tenant";
    /// The caller's limit of event streams.
    Streams = "streams", "event streams of the caller";
    /// The process has the maximum number of streams and waits.
    AllStreams = "all_streams", "streams and waits of all callers";
    /// The tenant's limit of lists, searches, estimates and answers with many new links.
    Lists = "lists", "lists and estimates of the caller";
    /// The same limit of all callers.
    AllLists = "all_lists", "lists and estimates of all callers";
    /// The tenant has the maximum number of waiting jobs.
    TenantLine = "tenant_line", "waiting jobs of the tenant";
    /// All tenants together have the maximum number of waiting jobs.
    Line = "line", "waiting jobs of all tenants";
    /// The tenant has created too many jobs in an hour.
    JobsPerHour = "jobs_per_hour", "jobs of the tenant in an hour";
    /// The process works on the maximum number of requests.
    Overloaded = "overloaded", "MAX_REQUESTS";
    /// The process or the address has the maximum number of connections.
    Connections = "connections", "MAX_CONNECTIONS or MAX_CONNECTIONS_PER_ADDRESS";
}
