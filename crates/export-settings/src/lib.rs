//! Every setting of the programs, declared once.
//!
//! **Declaration.** A setting is one field of a struct that derives [`clap::Args`]: the doc comment
//! is its help, its name is that of the flag and of the environment variable, and the attributes
//! say the default and, as `value_parser`, the type and the bounds (see [`parser`]). `long` and
//! `env` give another name where the field's name lacks the prefix of its group or the unit.
//! `hide_env_values` marks a secret. A hidden `alias` is an old name that is still accepted, as a
//! flag and as a variable. A setting without a default names an example in its help: "such as `…`".
//!
//! **What only tests change** is no setting: a field with `skip` is a constant for the programs,
//! and tests construct the struct with another value.
//!
//! **What follows from it.** Parsing ([`parse`]), `--help`, the errors, `.env.example` and the
//! table in SETUP.md. The test `reference` writes the two files anew when `UPDATE_SETTINGS=1` is
//! set.
//!
//! **Errors.** A setting that is missing or wrong gives an error that names the setting and says
//! what is expected. It never repeats the value, because the value may be a secret that was pasted
//! into the wrong place. One start reports all of them ([`Faults`]).
//!
//! **Variables that are no settings** but look like one are warned of, with the setting that was
//! probably meant.
//!
//! The structs know nothing about the services. What needs the type of another crate (a signing
//! key, a memory budget) is checked by the program, with a [`SettingError`].
#![warn(
    clippy::print_stderr,
    reason = "it panics if nothing can be written: use export_settings::print::note"
)]

pub mod access;
pub mod admission;
pub mod amqp;
pub mod authorities;
pub mod client;
mod command;
mod effective;
mod faults;
pub mod health;
pub mod http;
pub mod identities;
pub mod jobs;
pub mod limits;
pub mod log;
pub mod mongo;
mod names;
pub mod networks;
pub mod parser;
pub mod print;
pub mod reading;
pub mod results;
pub mod retention;
pub mod retry;
pub mod s3;
mod unknown;
mod uri;
mod value;
pub mod webhooks;
pub mod worker;

pub use command::{Parsed, defaults, from_flags, parse, parse_collecting, parse_quietly};
pub use effective::Effective;
pub use faults::Faults;
pub use secrecy::{ExposeSecret, SecretString};
pub use value::{SettingError, optional, secret};
