//! Settings: each is a flag and an environment variable with the same meaning; a secret may also come from a file.
//!
//! A setting that is missing or wrong gives a [`SettingError`], which names the setting and says what is expected, but
//! never repeats the value: it may be a secret pasted into the wrong place.
//!
//! Programs flatten the groups they need into their clap command line and then resolve each into values that cannot
//! be wrong. The groups are: [`mongo`] and [`reading`], [`amqp`], [`s3`], [`results`], [`log`], [`identities`] for provisioning,
//! and [`client`] for those who call the API.

pub mod amqp;
pub mod client;
pub mod identities;
pub mod log;
pub mod mongo;
pub mod reading;
pub mod results;
pub mod retry;
pub mod s3;
mod value;

pub use secrecy::{ExposeSecret, SecretString};
pub use value::{SettingError, optional, parsed, parsed_or, required, secret};
