//! Tests of the program `exports-api` without other services: settings, tokens and documentation.

mod documents;
mod figures;
mod issuer;
mod issuer_keys;
mod printing;
mod refusals;
mod settings;
mod tokens;
