//! Addresses and credentials of the three services, as settings of the programs and variables of
//! the tests.

use anyhow::{Context as _, bail};

use crate::identities::Identities;
use crate::settings::Settings;
use crate::{console, uri};

/// Region of S3 servers on this machine; they ignore it, but it is part of the signature.
const REGION: &str = "us-east-1";
/// Result bucket of stacks that this program starts.
pub(crate) const BUCKET: &str = "exports";

/// A service that the programs need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Mongodb,
    Rabbitmq,
    S3,
}

impl Service {
    /// All of them, in the order they are started.
    pub(crate) const ALL: [Self; 3] = [Self::Mongodb, Self::Rabbitmq, Self::S3];

    /// Its name in the compose file, in logs and in records.
    pub(crate) fn part(self) -> &'static str {
        match self {
            Self::Mongodb => "mongodb",
            Self::Rabbitmq => "rabbitmq",
            Self::S3 => "s3",
        }
    }

    /// Its name in messages.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Mongodb => "MongoDB",
            Self::Rabbitmq => "RabbitMQ",
            Self::S3 => "S3",
        }
    }

    /// The variable that gives its address.
    fn variable(self) -> &'static str {
        match self {
            Self::Mongodb => "MONGODB_URI",
            Self::Rabbitmq => "RABBITMQ_URL",
            Self::S3 => "AWS_ENDPOINT_URL_S3",
        }
    }

    /// Whether its address is given, so that it need not be started.
    pub(crate) fn is_given(self, settings: &Settings) -> bool {
        settings.is_given(self.variable())
    }

    /// Services without a given address.
    pub(crate) fn missing(settings: &Settings) -> Vec<Self> {
        Self::ALL.into_iter().filter(|service| !service.is_given(settings)).collect()
    }
}

/// Services that this program started, with their administrators' credentials.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoints {
    pub(crate) mongodb_uri: Option<String>,
    pub(crate) rabbitmq_url: Option<String>,
    pub(crate) rabbitmq_management_url: Option<String>,
    pub(crate) s3: Option<S3>,
    /// Users of the API and the worker in these services.
    pub(crate) identities: Identities,
}

/// An S3 server and its keys.
#[derive(Clone, Debug)]
pub(crate) struct S3 {
    pub(crate) endpoint: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

impl Endpoints {
    /// The programs' settings. A given service has no entry here: its settings are in the
    /// environment or `.env` already.
    pub(crate) fn settings(&self, settings: &Settings) -> Vec<(String, String)> {
        let mut pairs = settings.file_only();
        let mut set = |name: &str, value: &str| pairs.push((name.to_owned(), value.to_owned()));
        if let Some(uri) = &self.mongodb_uri {
            set("MONGODB_URI", uri);
        }
        if let Some(url) = &self.rabbitmq_url {
            set("RABBITMQ_URL", url);
        }
        if let Some(s3) = &self.s3 {
            set("AWS_ENDPOINT_URL_S3", &s3.endpoint);
            set("S3_PUBLIC_ENDPOINT_URL", &s3.endpoint);
            set("AWS_ACCESS_KEY_ID", &s3.access_key_id);
            set("AWS_SECRET_ACCESS_KEY", &s3.secret_access_key);
            set("AWS_REGION", REGION);
            set("S3_FORCE_PATH_STYLE", "true");
            set("S3_BUCKET", BUCKET);
        }
        pairs
    }

    /// Variables that the programs must not inherit: a developer's own cloud session would override
    /// the keys above.
    pub(crate) fn hidden(&self) -> Vec<String> {
        let names = [
            "AWS_PROFILE",
            "AWS_DEFAULT_PROFILE",
            "AWS_SESSION_TOKEN",
            "AWS_ENDPOINT_URL",
            "AWS_DEFAULT_REGION",
        ];
        if self.s3.is_some() { names.map(str::to_owned).to_vec() } else { Vec::new() }
    }

    /// Only these services; the others are given.
    pub(crate) fn only(&self, services: &[Service]) -> Self {
        let has = |service| services.contains(&service);
        Self {
            mongodb_uri: self.mongodb_uri.clone().filter(|_| has(Service::Mongodb)),
            rabbitmq_url: self.rabbitmq_url.clone().filter(|_| has(Service::Rabbitmq)),
            rabbitmq_management_url: self.rabbitmq_management_url.clone().filter(|_| has(Service::Rabbitmq)),
            s3: self.s3.clone().filter(|_| has(Service::S3)),
            identities: self.identities.clone(),
        }
    }

    /// The tests' variables. Each must have a value, because tests never skip.
    pub(crate) fn for_tests(&self, settings: &Settings) -> anyhow::Result<Vec<(String, String)>> {
        let s3 = self.s3.as_ref();
        let started = [
            ("MONGODB_URI", self.mongodb_uri.as_ref()),
            ("RABBITMQ_URL", self.rabbitmq_url.as_ref()),
            ("RABBITMQ_MANAGEMENT_URL", self.rabbitmq_management_url.as_ref()),
            ("AWS_ENDPOINT_URL_S3", s3.map(|s3| &s3.endpoint)),
            ("AWS_ACCESS_KEY_ID", s3.map(|s3| &s3.access_key_id)),
            ("AWS_SECRET_ACCESS_KEY", s3.map(|s3| &s3.secret_access_key)),
        ];
        let mut pairs = Vec::new();
        for (name, started) in started {
            let test_name = test_variable(name);
            let value = match started {
                Some(value) => Some(value.clone()),
                None => settings.secret(test_name)?.or(settings.secret(name)?),
            };
            let value = value.with_context(|| format!("neither {test_name} nor {name} is set"))?;
            pairs.push((test_name.to_owned(), value));
        }
        Ok(pairs)
    }

    /// Prints each service's address.
    pub(crate) fn print(&self, settings: &Settings) -> anyhow::Result<()> {
        for service in Service::ALL {
            let started = match service {
                Service::Mongodb => self.mongodb_uri.as_ref(),
                Service::Rabbitmq => self.rabbitmq_url.as_ref(),
                Service::S3 => self.s3.as_ref().map(|s3| &s3.endpoint),
            };
            let (address, origin) = match started {
                Some(uri) => (uri.clone(), ""),
                None => (given_address(service, settings)?, " (given)"),
            };
            console::detail(service.title(), uri::without_credentials(&address) + origin);
        }
        Ok(())
    }
}

/// Whether the tests' own variable or the plain one is set.
pub(crate) fn is_given_to_tests(service: Service, settings: &Settings) -> bool {
    settings.is_given(test_variable(service.variable())) || service.is_given(settings)
}

fn given_address(service: Service, settings: &Settings) -> anyhow::Result<String> {
    let variable = service.variable();
    match settings.secret(variable)?.or(settings.secret(test_variable(variable))?) {
        Some(address) => Ok(address),
        None => bail!("{variable} is not set"),
    }
}

/// The tests' name of a variable. It differs from the setting's, so that a program's settings
/// cannot reach a test by accident.
fn test_variable(name: &str) -> &'static str {
    match name {
        "MONGODB_URI" => "TEST_MONGODB_URI",
        "RABBITMQ_URL" => "TEST_RABBITMQ_URL",
        "RABBITMQ_MANAGEMENT_URL" => "TEST_RABBITMQ_MANAGEMENT_URL",
        "AWS_ENDPOINT_URL_S3" => "TEST_S3_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID" => "TEST_S3_ACCESS_KEY_ID",
        _ => "TEST_S3_SECRET_ACCESS_KEY",
    }
}
