//! The users to create: those named in the connection strings of the services.

use export_amqp::{BrokerUser, Management};
use export_settings::identities::{IdentitySettings, ServiceUri};
use export_settings::{SecretString, SettingError};
use export_store::MongoUser;

use crate::failure::UsageError;

const IN_URI: &str = "a connection string with the name and the password of the user to create";
const IN_URL: &str = "a URL with the name and the password of the user to create";
const ADMINISTRATOR: &str = "a management URL with user and password, or RABBITMQ_URL with them";

/// The users that the settings ask for.
#[derive(Debug)]
pub(super) struct Users {
    pub(super) mongodb: Vec<ServiceUser<export_store::Identity, MongoUser>>,
    pub(super) rabbitmq: Vec<ServiceUser<export_amqp::Identity, BrokerUser>>,
    /// Creates the users of RabbitMQ; given if there is one.
    pub(super) management: Option<Management>,
}

/// A service and its user, if the settings ask for one.
#[derive(Debug)]
pub(super) struct ServiceUser<I, U> {
    pub(super) service: &'static str,
    pub(super) identity: I,
    pub(super) user: Option<U>,
    setting: &'static str,
}

impl Users {
    /// Reads the users from the settings. Fails if two of them are the same user, or if one is the
    /// administrator, who would lose rights.
    pub(super) fn find(
        settings: &IdentitySettings,
        mongodb_uri: &SecretString,
        rabbitmq_url: &SecretString,
    ) -> anyhow::Result<Self> {
        let of_mongodb = [
            ("API", export_store::Identity::Api),
            ("worker", export_store::Identity::Worker),
            ("worker, vehicles", export_store::Identity::VehicleReader),
        ];
        let mongodb = find_users(of_mongodb, &settings.mongodb, MongoUser::in_uri, IN_URI)?;
        let administrator = MongoUser::in_uri(mongodb_uri);
        check_different(("MONGODB_URI", administrator.as_ref()), &mongodb, MongoUser::is_same_as)?;

        let of_rabbitmq = [("API", export_amqp::Identity::Api), ("worker", export_amqp::Identity::Worker)];
        let rabbitmq = find_users(of_rabbitmq, &settings.rabbitmq, BrokerUser::in_url, IN_URL)?;
        let administrator = BrokerUser::in_url(rabbitmq_url);
        check_different(("RABBITMQ_URL", administrator.as_ref()), &rabbitmq, BrokerUser::is_same_as)?;

        let no_administrator =
            SettingError::Wrong { name: "RABBITMQ_MANAGEMENT_URL", expected: ADMINISTRATOR };
        let management = settings.rabbitmq_management_url.as_ref();
        let management = management.map(|url| Management::new(url, rabbitmq_url).ok_or(no_administrator));
        Ok(Self { mongodb, rabbitmq, management: management.transpose()? })
    }
}

/// The user in each service's connection string. Fails if a connection string names none.
fn find_users<I, U, const COUNT: usize>(
    services: [(&'static str, I); COUNT],
    settings: &[ServiceUri; COUNT],
    find: fn(&SecretString) -> Option<U>,
    expected: &'static str,
) -> Result<Vec<ServiceUser<I, U>>, SettingError> {
    let users =
        services.into_iter().zip(settings).map(|((service, identity), ServiceUri { setting, uri })| {
            let wrong = SettingError::Wrong { name: setting, expected };
            let user = uri.as_ref().map(|uri| find(uri).ok_or(wrong)).transpose()?;
            Ok(ServiceUser { service, identity, user, setting })
        });
    users.collect()
}

fn check_different<I, U>(
    administrator: (&str, Option<&U>),
    users: &[ServiceUser<I, U>],
    is_same: fn(&U, &U) -> bool,
) -> Result<(), UsageError> {
    let mut known = vec![administrator];
    for ServiceUser { user, setting, .. } in users {
        for (other_setting, other) in &known {
            if user.as_ref().zip(*other).is_some_and(|(user, other)| is_same(user, other)) {
                return Err(UsageError(format!(
                    "settings {other_setting} and {setting} name the same user: each needs its own, with its own rights"
                )));
            }
        }
        known.push((setting, user.as_ref()));
    }
    Ok(())
}
