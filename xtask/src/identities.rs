//! Users of the API and the worker, with the rights of their program, in services that this program
//! started.

use serde_json::{Value, json};

use crate::settings::Settings;
use crate::uri::percent_encoded;

/// User names in services that this program starts.
pub(crate) const API: &str = "exports-api";
pub(crate) const WORKER: &str = "exports-worker";
pub(crate) const SOURCE: &str = "exports-source";
/// Passwords on services that listen on this machine only, and live in the target folder.
pub(crate) const LOCAL_PASSWORD: &str = "exports-local";

/// For each setting of a service, the setting from which `exports provision` gets its value.
const OF_API: [(&str, &str); 2] = [("MONGODB_URI", "API_MONGODB_URI"), ("RABBITMQ_URL", "API_RABBITMQ_URL")];
const OF_WORKER: [(&str, &str); 3] = [
    ("MONGODB_URI", "WORKER_MONGODB_URI"),
    ("SOURCE_MONGODB_URI", "WORKER_SOURCE_MONGODB_URI"),
    ("RABBITMQ_URL", "WORKER_RABBITMQ_URL"),
];
const MANAGEMENT: &str = "RABBITMQ_MANAGEMENT_URL";

/// Settings with their values.
pub(crate) type Pairs = Vec<(String, String)>;

/// The users of the API and the worker, as far as this program created them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identities {
    /// Connection strings for `exports provision`: those of the services, and of the databases of
    /// users.
    provisioning: Pairs,
    /// The S3 keys of the services.
    s3_keys: Option<[S3Key; 2]>,
}

/// A key of the local S3 server.
#[derive(Clone, Debug)]
pub(crate) struct S3Key {
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
    /// Its permissions: an IAM policy document.
    pub(crate) policy: Value,
}

/// The keys of the API and the worker, with these policies.
pub(crate) fn s3_keys([api, worker]: [Value; 2]) -> [S3Key; 2] {
    [
        S3Key { id: "exports-local-api", secret: "exports-local-api-secret", policy: api },
        S3Key { id: "exports-local-worker", secret: "exports-local-worker-secret", policy: worker },
    ]
}

/// The keys in the format of the test kit's S3 server.
pub(crate) fn s3_identities(keys: &[S3Key]) -> String {
    let identity =
        |key: &S3Key| json!({ "accessKeyId": key.id, "secretAccessKey": key.secret, "policy": key.policy });
    Value::Array(keys.iter().map(identity).collect()).to_string()
}

impl Identities {
    /// Users of a MongoDB that this program started: passwords of the API, the worker and the
    /// reader of vehicles, and the common end of their connection strings, from the address on.
    pub(crate) fn add_mongodb(&mut self, passwords: [&str; 3], rest: &str) {
        let names = ["API_MONGODB_URI", "WORKER_MONGODB_URI", "WORKER_SOURCE_MONGODB_URI"];
        for ((name, user), password) in names.into_iter().zip([API, WORKER, SOURCE]).zip(passwords) {
            let uri = format!("mongodb://{user}:{}@{rest}", percent_encoded(password));
            self.provisioning.push((name.to_owned(), uri));
        }
    }

    /// Users of a RabbitMQ that this program started: passwords of the API and the worker, and the
    /// address.
    pub(crate) fn add_rabbitmq(&mut self, passwords: [&str; 2], address: &str) {
        for ((name, user), password) in
            ["API_RABBITMQ_URL", "WORKER_RABBITMQ_URL"].into_iter().zip([API, WORKER]).zip(passwords)
        {
            let url = format!("amqp://{user}:{}@{address}/%2f", percent_encoded(password));
            self.provisioning.push((name.to_owned(), url));
        }
    }

    /// The management API of a RabbitMQ that this program started, for creating users.
    pub(crate) fn set_management(&mut self, url: &str) {
        self.provisioning.push((MANAGEMENT.to_owned(), url.to_owned()));
    }

    pub(crate) fn set_s3_keys(&mut self, keys: [S3Key; 2]) {
        self.s3_keys = Some(keys);
    }

    /// Settings of `exports provision` in addition to the administrator's. For given services, the
    /// environment or `.env` may have them.
    pub(crate) fn for_provisioning(&self) -> Pairs {
        // A variable that is set in two ways would be refused.
        let files = self.provisioning.iter().map(|(name, _)| (format!("{name}_FILE"), String::new()));
        files.chain(self.provisioning.iter().cloned()).collect()
    }

    /// Settings of the API in addition to the administrator's: its own users, if it has some.
    pub(crate) fn for_api(&self, settings: &Settings) -> anyhow::Result<Pairs> {
        self.for_service(settings, &OF_API, 0)
    }

    /// Settings of the worker in addition to the administrator's: its own users, if it has some.
    pub(crate) fn for_worker(&self, settings: &Settings) -> anyhow::Result<Pairs> {
        // A given vehicles' database is read with the given credentials.
        let has_source = settings.is_given("SOURCE_MONGODB_URI");
        let of_worker: Vec<_> =
            OF_WORKER.into_iter().filter(|(name, _)| !has_source || *name != "SOURCE_MONGODB_URI").collect();
        self.for_service(settings, &of_worker, 1)
    }

    fn for_service(&self, settings: &Settings, names: &[(&str, &str)], key: usize) -> anyhow::Result<Pairs> {
        let mut pairs = Pairs::new();
        for (name, given_as) in names {
            let started = self.provisioning.iter().find(|(name, _)| name == given_as);
            let value = match started {
                Some((_, value)) => Some(value.clone()),
                None => settings.secret(given_as)?,
            };
            if let Some(value) = value {
                pairs.push((format!("{name}_FILE"), String::new()));
                pairs.push(((*name).to_owned(), value));
            }
        }
        if let Some(keys) = &self.s3_keys {
            pairs.push(("AWS_ACCESS_KEY_ID".to_owned(), keys[key].id.to_owned()));
            pairs.push(("AWS_SECRET_ACCESS_KEY".to_owned(), keys[key].secret.to_owned()));
        }
        Ok(pairs)
    }

    /// Variables that only `exports provision` should see.
    pub(crate) fn hidden_from_services() -> Vec<String> {
        let of_services = OF_API.iter().chain(&OF_WORKER).map(|(_, name)| *name);
        of_services.chain([MANAGEMENT]).flat_map(|name| [name.to_owned(), format!("{name}_FILE")]).collect()
    }
}
