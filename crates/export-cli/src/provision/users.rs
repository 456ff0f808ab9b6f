//! The users to create: those named in the connection strings of the services.

use export_amqp::{BrokerUser, Management};
use export_settings::identities::IdentitySettings;
use export_settings::{SecretString, SettingError};
use export_store::MongoUser;

use crate::failure::UsageError;

const IN_URI: &str = "a connection string with the name and the password of the user to create";
const IN_URL: &str = "a URL with the name and the password of the user to create";
const ADMINISTRATOR: &str = "a management URL with user and password, or RABBITMQ_URL with them";

/// The users that the settings ask for.
#[derive(Debug)]
pub(super) struct Users {
    api_mongodb: Option<MongoUser>,
    worker_mongodb: Option<MongoUser>,
    worker_source_mongodb: Option<MongoUser>,
    api_rabbitmq: Option<BrokerUser>,
    worker_rabbitmq: Option<BrokerUser>,
    management: Option<Management>,
}

impl Users {
    /// Reads the users from the settings. Fails if two of them are the same user, or if one is the
    /// administrator, who would lose rights.
    pub(super) fn find(
        settings: &IdentitySettings,
        mongodb_uri: &SecretString,
        rabbitmq_url: &SecretString,
    ) -> anyhow::Result<Self> {
        let mongodb_user = |name, uri: &Option<SecretString>| {
            required(uri.as_ref(), MongoUser::in_uri, SettingError::Wrong { name, expected: IN_URI })
        };
        let rabbitmq_user = |name, url: &Option<SecretString>| {
            required(url.as_ref(), BrokerUser::in_url, SettingError::Wrong { name, expected: IN_URL })
        };
        let no_administrator =
            SettingError::Wrong { name: "RABBITMQ_MANAGEMENT_URL", expected: ADMINISTRATOR };
        let management = |url: &SecretString| Management::new(url, rabbitmq_url);
        let users = Self {
            api_mongodb: mongodb_user("API_MONGODB_URI", &settings.api_mongodb_uri)?,
            worker_mongodb: mongodb_user("WORKER_MONGODB_URI", &settings.worker_mongodb_uri)?,
            worker_source_mongodb: mongodb_user(
                "WORKER_SOURCE_MONGODB_URI",
                &settings.worker_source_mongodb_uri,
            )?,
            api_rabbitmq: rabbitmq_user("API_RABBITMQ_URL", &settings.api_rabbitmq_url)?,
            worker_rabbitmq: rabbitmq_user("WORKER_RABBITMQ_URL", &settings.worker_rabbitmq_url)?,
            management: required(settings.rabbitmq_management_url.as_ref(), management, no_administrator)?,
        };
        let administrator = MongoUser::in_uri(mongodb_uri);
        let of_mongodb = [
            ("MONGODB_URI", administrator.as_ref()),
            ("API_MONGODB_URI", users.api_mongodb.as_ref()),
            ("WORKER_MONGODB_URI", users.worker_mongodb.as_ref()),
            ("WORKER_SOURCE_MONGODB_URI", users.worker_source_mongodb.as_ref()),
        ];
        check_different(&of_mongodb, MongoUser::is_same_as)?;
        let administrator = BrokerUser::in_url(rabbitmq_url);
        let of_rabbitmq = [
            ("RABBITMQ_URL", administrator.as_ref()),
            ("API_RABBITMQ_URL", users.api_rabbitmq.as_ref()),
            ("WORKER_RABBITMQ_URL", users.worker_rabbitmq.as_ref()),
        ];
        check_different(&of_rabbitmq, BrokerUser::is_same_as)?;
        Ok(users)
    }

    /// The MongoDB user of each service.
    pub(super) fn of_mongodb(&self) -> [ServiceUser<export_store::Identity, &MongoUser>; 3] {
        use export_store::Identity;
        [
            ServiceUser { service: "API", identity: Identity::Api, user: self.api_mongodb.as_ref() },
            ServiceUser { service: "worker", identity: Identity::Worker, user: self.worker_mongodb.as_ref() },
            ServiceUser {
                service: "worker, vehicles",
                identity: Identity::VehicleReader,
                user: self.worker_source_mongodb.as_ref(),
            },
        ]
    }

    /// The RabbitMQ user of each service, with the management API that creates it.
    pub(super) fn of_rabbitmq(&self) -> [ServiceUser<export_amqp::Identity, (&Management, &BrokerUser)>; 2] {
        use export_amqp::Identity;
        let management = self.management.as_ref();
        let (api, worker) = (self.api_rabbitmq.as_ref(), self.worker_rabbitmq.as_ref());
        [
            ServiceUser { service: "API", identity: Identity::Api, user: management.zip(api) },
            ServiceUser { service: "worker", identity: Identity::Worker, user: management.zip(worker) },
        ]
    }
}

/// A service and its user, if the settings ask for one.
#[derive(Debug)]
pub(super) struct ServiceUser<I, U> {
    pub(super) service: &'static str,
    pub(super) identity: I,
    pub(super) user: Option<U>,
}

/// The value that `find` reads from a setting. Fails if the setting is given and has no such value.
fn required<T>(
    setting: Option<&SecretString>,
    find: impl FnOnce(&SecretString) -> Option<T>,
    wrong: SettingError,
) -> Result<Option<T>, SettingError> {
    setting.map(|setting| find(setting).ok_or(wrong)).transpose()
}

fn check_different<T>(
    users: &[(&str, Option<&T>)],
    is_same: impl Fn(&T, &T) -> bool,
) -> Result<(), UsageError> {
    for (index, (setting, user)) in users.iter().enumerate() {
        for (other_setting, other) in &users[index + 1..] {
            if user.zip(*other).is_some_and(|(user, other)| is_same(user, other)) {
                return Err(UsageError(format!(
                    "settings {setting} and {other_setting} name the same user: each needs its own, with its own rights"
                )));
            }
        }
    }
    Ok(())
}
