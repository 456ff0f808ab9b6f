//! `MONGODB_URI` and its companions.

use secrecy::{ExposeSecret, SecretString};

use crate::parser::{SettingParser, text};
use crate::uri::{ENCODED, has_encoded_credentials};
use crate::value::{SettingError, secret};

const EXPECTED: &str = "a MongoDB connection string such as mongodb://host:27017/?replicaSet=rs0";
/// Longest name of a database, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// Where the jobs are, as given.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "MongoDB")]
pub struct MongoArgs {
    /// Connection string of the jobs' database (and of the vehicles, without `SOURCE_MONGODB_URI`),
    /// such as `mongodb://127.0.0.1:27117/?replicaSet=rs0`
    #[arg(long, env, hide_env_values = true, value_name = "URI")]
    pub mongodb_uri: Option<SecretString>,
    /// File that holds it instead
    #[arg(long, env, hide_env_values = true, value_name = "FILE")]
    pub mongodb_uri_file: Option<String>,
    /// Database of the jobs
    #[arg(long, env, value_name = "NAME", default_value = "exports", value_parser = database_name())]
    pub jobs_database: String,
}

/// Where the jobs are.
#[derive(Clone, Debug)]
pub struct MongoSettings {
    /// Connection string.
    pub uri: SecretString,
    /// Name of the jobs' database.
    pub jobs_database: String,
}

impl MongoArgs {
    /// Reads and checks the connection string. The program connects later, and waits until the
    /// server answers.
    pub fn resolve(&self) -> Result<MongoSettings, SettingError> {
        let uri = secret("MONGODB_URI", self.mongodb_uri.as_ref(), self.mongodb_uri_file.as_ref())?
            .ok_or(SettingError::Missing { name: "MONGODB_URI", expected: EXPECTED })?;
        let uri = connection_string("MONGODB_URI", uri)?;
        Ok(MongoSettings { uri, jobs_database: self.jobs_database.clone() })
    }
}

/// Where the vehicles are, as given.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Vehicles")]
pub struct SourceArgs {
    /// Connection string of the vehicles' databases, if they are elsewhere than the jobs, such as
    /// `mongodb://127.0.0.1:27117/?replicaSet=rs0`. `exports run` needs it, or `--dump`
    #[arg(long, env, hide_env_values = true, value_name = "URI")]
    pub source_mongodb_uri: Option<SecretString>,
    /// File that holds it instead
    #[arg(long, env, hide_env_values = true, value_name = "FILE")]
    pub source_mongodb_uri_file: Option<String>,
    /// Prefix of the names of the vehicles' databases
    #[arg(long, env, value_name = "PREFIX", default_value = "vehicle_", value_parser = database_name())]
    pub vehicle_database_prefix: String,
}

/// Where the vehicles are.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Connection string, if it is another than that of the jobs.
    pub uri: Option<SecretString>,
    /// Prefix of the names of the vehicles' databases.
    pub vehicle_database_prefix: String,
}

impl SourceArgs {
    /// Reads and checks the connection string.
    pub fn resolve(&self) -> Result<SourceSettings, SettingError> {
        let uri = secret(
            "SOURCE_MONGODB_URI",
            self.source_mongodb_uri.as_ref(),
            self.source_mongodb_uri_file.as_ref(),
        )?;
        let uri = uri.map(|uri| connection_string("SOURCE_MONGODB_URI", uri)).transpose()?;
        Ok(SourceSettings { uri, vehicle_database_prefix: self.vehicle_database_prefix.clone() })
    }
}

/// The connection string, if it looks like one; the driver checks the rest.
pub fn connection_string(name: &'static str, uri: SecretString) -> Result<SecretString, SettingError> {
    let text = uri.expose_secret();
    if !["mongodb://", "mongodb+srv://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Err(SettingError::Wrong { name, expected: EXPECTED });
    }
    if !has_encoded_credentials(text) {
        return Err(SettingError::Wrong { name, expected: ENCODED });
    }
    Ok(uri)
}

fn database_name() -> SettingParser<String> {
    text("at most 63 bytes without spaces or any of /\\.\"$", |name| {
        name.len() <= MAX_NAME_BYTES && !name.contains(['/', '\\', '.', ' ', '"', '$', '\0'])
    })
}
