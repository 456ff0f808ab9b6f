//! Named schemas of the words that requests and answers use, so that generated clients have one type
//! for each and not one for each place.
//!
//! A closed list changes only with the API's contract. An open list may grow with any version: its
//! schema is a string that names the known values (`x-extensible-enum`), so that a client which was
//! generated earlier accepts a new one.

use export_core::output::{OPTIONS, OutputOption, Values};
use export_core::{job, warnings};
use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)+) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema
            }
        }

        impl ToSchema for $name {}
    )+};
}

words! {
    /// Schema of a job's state.
    JobState = closed("State of a job.", &job::JobState::ALL.map(job::JobState::as_str));
    /// Schema of a job's priority.
    Priority = closed(
        "Priority among the tenant's jobs: small exports are interactive.",
        &job::Priority::ALL.map(job::Priority::as_str),
    );
    /// Schema of a reason to wait.
    WaitingFor = open(
        "Why a job waits. turn: for its turn among the jobs of all tenants; delivery: a worker gets it next; place: all workers are \
         busy; worker: no worker has reported recently; storage: the object store refuses writes; retry: for its next try; \
         sameExport: another job writes the result that this one will share.",
        &job::WaitingFor::ALL.map(job::WaitingFor::as_str),
    );
    /// Schema of what a warning is about.
    WarningCode = open(
        "What a warning is about; docs/api.md describes each.",
        &warnings::WarningCode::ALL.map(warnings::WarningCode::as_str),
    );
}

/// A string that is one of these words.
fn closed(description: &str, words: &[&str]) -> RefOr<Schema> {
    let string = ObjectBuilder::new().schema_type(SchemaType::new(Type::String));
    string.description(Some(description)).enum_values(Some(words.iter().copied())).into()
}

/// A string that is one of these words in this version.
fn open(description: &str, words: &[&str]) -> RefOr<Schema> {
    let known = Extensions::builder().add("x-extensible-enum", words).build();
    let string = ObjectBuilder::new().schema_type(SchemaType::new(Type::String));
    let description = format!("{description} A later version may have other values.");
    string.description(Some(description)).extensions(Some(known)).into()
}

/// Adds a named schema for each output option that is one of some words.
pub(super) fn add_options(schemas: &mut Value) {
    for option in OPTIONS {
        if let Values::OneOf(words) = option.values {
            let description = format!("{}.", option.about);
            schemas[name_of(&option)] =
                json!({ "type": "string", "description": description, "enum": words });
        }
    }
}

/// The name of an option's schema: `timeFormat` has `TimeFormat`.
pub(super) fn name_of(option: &OutputOption) -> String {
    let (first, rest) = option.name.split_at(1);
    format!("{}{rest}", first.to_ascii_uppercase())
}
