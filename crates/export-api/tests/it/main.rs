//! Tests of the program `exports-api` without other services: settings, tokens and documentation.

mod description;
mod documents;
mod figures;
mod issuer;
mod issuer_keys;
mod printing;
mod refusals;
mod settings;
mod start_up;
mod tokens;
