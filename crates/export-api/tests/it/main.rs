//! The program from outside: its settings, its start and its end.

mod documents;
mod issuer;
mod settings;
mod tokens;
