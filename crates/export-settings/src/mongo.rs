//! `MONGODB_URI` and its companions.

use secrecy::{ExposeSecret, SecretString};

use crate::value::{SettingError, optional, secret};

const EXPECTED: &str = "a MongoDB connection string such as mongodb://host:27017/?replicaSet=rs0";

/// Flags and variables.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "MongoDB")]
pub struct MongoArgs {
    /// Connection string of the jobs (and of the vehicles, where `SOURCE_MONGODB_URI` is not set)
    #[arg(long, env = "MONGODB_URI", hide_env_values = true, value_name = "URI")]
    pub mongodb_uri: Option<String>,
    /// File that holds it instead
    #[arg(long, env = "MONGODB_URI_FILE", hide_env_values = true, value_name = "FILE")]
    pub mongodb_uri_file: Option<String>,
    /// Database of the jobs
    #[arg(
        long,
        env = "JOBS_DATABASE",
        value_name = "NAME",
        help = "Database of the jobs [default: exports]"
    )]
    pub jobs_database: Option<String>,
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
    /// Checks the settings. Whether the server answers is found out later, and waited for.
    pub fn resolve(&self) -> Result<MongoSettings, SettingError> {
        let uri = secret("MONGODB_URI", self.mongodb_uri.as_ref(), self.mongodb_uri_file.as_ref())?
            .ok_or(SettingError::Missing { name: "MONGODB_URI", expected: EXPECTED })?;
        let uri = connection_string("MONGODB_URI", uri)?;
        let jobs_database = database_name("JOBS_DATABASE", self.jobs_database.as_ref(), "exports")?;
        Ok(MongoSettings { uri, jobs_database })
    }
}

/// Flags and variables of the vehicles' side.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Vehicles")]
pub struct SourceArgs {
    /// Connection string of the vehicles' databases, where they live elsewhere than the jobs
    #[arg(long, env = "SOURCE_MONGODB_URI", hide_env_values = true, value_name = "URI")]
    pub source_mongodb_uri: Option<String>,
    /// File that holds it instead
    #[arg(long, env = "SOURCE_MONGODB_URI_FILE", hide_env_values = true, value_name = "FILE")]
    pub source_mongodb_uri_file: Option<String>,
    /// What the names of vehicles' databases begin with [default: vehicle_]
    #[arg(long, env = "VEHICLE_DATABASE_PREFIX", value_name = "PREFIX")]
    pub vehicle_database_prefix: Option<String>,
}

/// Where the vehicles are.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Connection string, where it is another than the jobs'.
    pub uri: Option<SecretString>,
    /// What the names of vehicles' databases begin with.
    pub vehicle_database_prefix: String,
}

impl SourceArgs {
    /// Checks the settings.
    pub fn resolve(&self) -> Result<SourceSettings, SettingError> {
        let uri = secret(
            "SOURCE_MONGODB_URI",
            self.source_mongodb_uri.as_ref(),
            self.source_mongodb_uri_file.as_ref(),
        )?;
        let uri = uri.map(|uri| connection_string("SOURCE_MONGODB_URI", uri)).transpose()?;
        let vehicle_database_prefix =
            database_name("VEHICLE_DATABASE_PREFIX", self.vehicle_database_prefix.as_ref(), "vehicle_")?;
        Ok(SourceSettings { uri, vehicle_database_prefix })
    }
}

/// The connection string, if it looks like one; the driver looks closer.
pub(crate) fn connection_string(name: &'static str, uri: SecretString) -> Result<SecretString, SettingError> {
    let is_valid =
        ["mongodb://", "mongodb+srv://"].iter().any(|scheme| uri.expose_secret().starts_with(scheme));
    if is_valid { Ok(uri) } else { Err(SettingError::Wrong { name, expected: EXPECTED }) }
}

fn database_name(name: &'static str, value: Option<&String>, default: &str) -> Result<String, SettingError> {
    let value = optional(value).unwrap_or(default);
    let is_valid = value.len() <= 63 && !value.contains(['/', '\\', '.', ' ', '"', '$', '\0']);
    if is_valid {
        Ok(value.to_owned())
    } else {
        Err(SettingError::Wrong { name, expected: "at most 63 bytes without spaces or any of /\\.\"$" })
    }
}
