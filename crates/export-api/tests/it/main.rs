//! The program from outside: its settings, its start and its end.

mod issuer;
mod settings;
mod tokens;
