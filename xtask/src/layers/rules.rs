//! The tables for the check of the crates' dependencies. Change docs/architecture.md together with
//! them.

/// The allowed dependencies of one crate.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// The project's crates that it may depend on, without `export-`. Rigs may depend on any, see
    /// [`RIGS`].
    pub(super) may_use: &'static [&'static str],
}

const fn rule(name: &'static str, may_use: &'static [&'static str]) -> Rule {
    Rule { name, may_use }
}

/// Every crate of the product, lowest first. Names are without `export-`.
pub(super) const CRATES: &[Rule] = &[
    rule("core", &[]),
    rule("settings", &["core"]),
    rule("fleet", &[]),
    rule("engine", &["core"]),
    // What `store` and `source` share: the client, its errors, leases.
    rule("mongo", &[]),
    rule("store", &["core", "settings", "mongo"]),
    rule("source", &["core", "settings", "mongo"]),
    rule("amqp", &["core", "settings"]),
    rule("s3", &["core", "settings"]),
    rule("webhooks", &["core", "settings"]),
    rule("observability", &["core", "settings"]),
    rule("api", &["core", "settings", "store", "source", "amqp", "s3", "webhooks", "observability"]),
    rule("worker", &["core", "settings", "engine", "store", "source", "amqp", "s3", "observability"]),
    rule(
        "cli",
        &[
            "core",
            "settings",
            "engine",
            "fleet",
            "store",
            "source",
            "amqp",
            "s3",
            "webhooks",
            "observability",
        ],
    ),
];

/// Crates that no program of the product contains: they may use the product's crates as listed, and
/// the test kit.
pub(super) const RIGS: &[Rule] = &[
    // An independent opinion: it shares no code with the code that it checks.
    rule("testkit", &[]),
    rule("faults", &["testkit"]),
    rule("model", &["core"]),
    rule("bench", &["core", "engine", "fleet", "testkit"]),
    // The only place where API and worker meet.
    rule(
        "e2e",
        &[
            "core",
            "settings",
            "engine",
            "store",
            "source",
            "amqp",
            "s3",
            "webhooks",
            "observability",
            "api",
            "worker",
            "testkit",
        ],
    ),
    rule("xtask", &[]),
];

/// An external crate that only some crates may depend on directly, so that its types do not leave
/// them.
#[derive(Debug)]
pub(super) struct Confined {
    pub(super) external: &'static str,
    pub(super) to: &'static [&'static str],
}

const fn confined(external: &'static str, to: &'static [&'static str]) -> Confined {
    Confined { external, to }
}

/// Drivers and servers, with the crates of the product that own them. Rigs and dev-dependencies are
/// free.
pub(super) const CONFINED: &[Confined] = &[
    confined("mongodb", &["mongo", "store", "source"]),
    confined("lapin", &["amqp"]),
    confined("async-rs", &["amqp"]),
    confined("aws-config", &["s3"]),
    confined("aws-sdk-s3", &["s3"]),
    confined("axum", &["api", "observability"]),
    confined("reqwest", &["api", "cli", "webhooks"]),
    confined("ureq", &["amqp"]),
    confined("parquet", &["engine"]),
    confined("metrics-exporter-prometheus", &["observability"]),
    confined("tracing-subscriber", &["observability"]),
];

/// Crates without network IO and without a runtime.
pub(super) const PURE: &[&str] = &["core", "engine", "fleet", "model"];

/// Crates that a pure crate must not contain, directly or indirectly.
pub(super) const IMPURE: &[&str] =
    &["tokio", "mongodb", "lapin", "aws-config", "aws-sdk-s3", "axum", "hyper", "reqwest", "ureq", "rustls"];
