//! The services' own users, which `exports provision` creates.
//!
//! Each is named by the connection string that the service will use.

use secrecy::SecretString;

use crate::amqp::broker_url;
use crate::mongo::connection_string;
use crate::uri::{ENCODED, has_encoded_credentials};
use crate::value::{SettingError, secret};

const MANAGEMENT: &str = "RABBITMQ_MANAGEMENT_URL";
const MANAGEMENT_EXPECTED: &str =
    "the http or https URL of RabbitMQ's management API, such as http://host:15672, to create users there";

/// The services' connection strings, as given.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Users of the services")]
pub struct IdentityArgs {
    /// The API's `MONGODB_URI`, such as
    /// `mongodb://exports-api:password@127.0.0.1:27117/?replicaSet=rs0`. Without it, the API gets
    /// no MongoDB user
    #[arg(long, env, hide_env_values = true, value_name = "URI")]
    pub api_mongodb_uri: Option<SecretString>,
    /// File that holds it instead
    #[arg(long, env, hide_env_values = true, value_name = "FILE")]
    pub api_mongodb_uri_file: Option<String>,
    /// The worker's `MONGODB_URI`, such as
    /// `mongodb://exports-worker:password@127.0.0.1:27117/?replicaSet=rs0`. Without it, the worker
    /// gets no user for the jobs
    #[arg(long, env, hide_env_values = true, value_name = "URI")]
    pub worker_mongodb_uri: Option<SecretString>,
    /// File that holds it instead
    #[arg(long, env, hide_env_values = true, value_name = "FILE")]
    pub worker_mongodb_uri_file: Option<String>,
    /// The worker's `SOURCE_MONGODB_URI`, such as
    /// `mongodb://exports-source:password@127.0.0.1:27117/?replicaSet=rs0`. Without it, the worker
    /// gets no user for the vehicles
    #[arg(long, env, hide_env_values = true, value_name = "URI")]
    pub worker_source_mongodb_uri: Option<SecretString>,
    /// File that holds it instead
    #[arg(long, env, hide_env_values = true, value_name = "FILE")]
    pub worker_source_mongodb_uri_file: Option<String>,
    /// The API's `RABBITMQ_URL`, such as `amqp://exports-api:password@127.0.0.1:5673/%2f`. Without
    /// it, the API gets no RabbitMQ user
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub api_rabbitmq_url: Option<SecretString>,
    /// File that holds it instead
    #[arg(long, env, hide_env_values = true, value_name = "FILE")]
    pub api_rabbitmq_url_file: Option<String>,
    /// The worker's `RABBITMQ_URL`, such as `amqp://exports-worker:password@127.0.0.1:5673/%2f`.
    /// Without it, the worker gets no RabbitMQ user
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub worker_rabbitmq_url: Option<SecretString>,
    /// File that holds it instead
    #[arg(long, env, hide_env_values = true, value_name = "FILE")]
    pub worker_rabbitmq_url_file: Option<String>,
    /// RabbitMQ's management API, such as `http://127.0.0.1:15673`, which creates the RabbitMQ
    /// users. Needed with the two before; signs in as the administrator of `RABBITMQ_URL`, unless
    /// it names one
    #[arg(long, env, hide_env_values = true, value_name = "URL")]
    pub rabbitmq_management_url: Option<SecretString>,
    /// File that holds it instead
    #[arg(long, env, hide_env_values = true, value_name = "FILE")]
    pub rabbitmq_management_url_file: Option<String>,
}

/// The services' connection strings, if they are given.
#[derive(Clone, Debug)]
pub struct IdentitySettings {
    /// Of MongoDB: the API's and the worker's for the jobs, and the worker's for the vehicles.
    pub mongodb: [ServiceUri; 3],
    /// Of RabbitMQ: the API's and the worker's.
    pub rabbitmq: [ServiceUri; 2],
    /// The management API that creates RabbitMQ's users; given whenever one of them is.
    pub rabbitmq_management_url: Option<SecretString>,
}

/// A connection string that names a service's user.
#[derive(Clone, Debug)]
pub struct ServiceUri {
    /// The setting that it is from.
    pub setting: &'static str,
    /// The connection string, if it is given.
    pub uri: Option<SecretString>,
}

impl ServiceUri {
    fn read(
        setting: &'static str,
        value: Option<&SecretString>,
        file: Option<&String>,
        check: fn(&'static str, SecretString) -> Result<SecretString, SettingError>,
    ) -> Result<Self, SettingError> {
        let uri = secret(setting, value, file)?.map(|uri| check(setting, uri)).transpose()?;
        Ok(Self { setting, uri })
    }
}

impl IdentityArgs {
    /// Checks the settings, except for the users in them: the crates that connect know how to find
    /// those.
    pub fn resolve(&self) -> Result<IdentitySettings, SettingError> {
        let (api, api_file) = (self.api_mongodb_uri.as_ref(), self.api_mongodb_uri_file.as_ref());
        let (worker, worker_file) = (self.worker_mongodb_uri.as_ref(), self.worker_mongodb_uri_file.as_ref());
        let source = self.worker_source_mongodb_uri.as_ref();
        let source_file = self.worker_source_mongodb_uri_file.as_ref();
        let mongodb = [
            ServiceUri::read("API_MONGODB_URI", api, api_file, connection_string)?,
            ServiceUri::read("WORKER_MONGODB_URI", worker, worker_file, connection_string)?,
            ServiceUri::read("WORKER_SOURCE_MONGODB_URI", source, source_file, connection_string)?,
        ];
        let (api, api_file) = (self.api_rabbitmq_url.as_ref(), self.api_rabbitmq_url_file.as_ref());
        let (worker, worker_file) =
            (self.worker_rabbitmq_url.as_ref(), self.worker_rabbitmq_url_file.as_ref());
        let rabbitmq = [
            ServiceUri::read("API_RABBITMQ_URL", api, api_file, broker_url)?,
            ServiceUri::read("WORKER_RABBITMQ_URL", worker, worker_file, broker_url)?,
        ];
        let rabbitmq_management_url = self.management_url()?;
        let has_user = rabbitmq.iter().any(|identity| identity.uri.is_some());
        if has_user && rabbitmq_management_url.is_none() {
            return Err(SettingError::Missing { name: MANAGEMENT, expected: MANAGEMENT_EXPECTED });
        }
        Ok(IdentitySettings { mongodb, rabbitmq, rabbitmq_management_url })
    }

    fn management_url(&self) -> Result<Option<SecretString>, SettingError> {
        use secrecy::ExposeSecret;
        let (value, file) =
            (self.rabbitmq_management_url.as_ref(), self.rabbitmq_management_url_file.as_ref());
        let Some(url) = secret(MANAGEMENT, value, file)? else { return Ok(None) };
        if !has_encoded_credentials(url.expose_secret()) {
            return Err(SettingError::Wrong { name: MANAGEMENT, expected: ENCODED });
        }
        let is_http = url::Url::parse(url.expose_secret())
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if is_http {
            Ok(Some(url))
        } else {
            Err(SettingError::Wrong { name: MANAGEMENT, expected: MANAGEMENT_EXPECTED })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_the_broker_needs_the_management_api() {
        let mut args = IdentityArgs {
            worker_rabbitmq_url: Some("amqp://worker:hunter2@host/%2f".into()),
            ..IdentityArgs::default()
        };
        let error = args.resolve().expect_err("no management API").to_string();
        assert!(error.contains(MANAGEMENT) && !error.contains("hunter2"), "{error}");
        args.rabbitmq_management_url = Some("amqp://hunter2@host".into());
        let error = args.resolve().expect_err("no http").to_string();
        assert!(error.contains(MANAGEMENT) && !error.contains("hunter2"), "{error}");
        args.rabbitmq_management_url = Some("https://host:15671/".into());
        args.resolve().expect("both");
    }

    #[test]
    fn nothing_is_needed() {
        let settings = IdentityArgs::default().resolve().expect("nothing");
        assert!(settings.mongodb.iter().all(|identity| identity.uri.is_none()));
        assert!(settings.rabbitmq_management_url.is_none());
    }
}
