//! The services' MongoDB users and their roles, with the least privileges that each program needs.
//!
//! | role | database | privileges |
//! |---|---|---|
//! | `exportsApi` | jobs' database | find, insert, update on `jobs`; find, update, remove on `results`; find on `catalog`, `apiKeys`, `tenants`, `workers`; find, insert, update on `outbox`, `turns`; insert on `audit` |
//! | `exportsWorker` | jobs' database | find, update on `jobs`; find, insert, update, remove on `results`; find, insert, update, remove on `catalog`; find, insert, update on `deadLetters`, `places`, `workers` |
//! | `exportsVehicleReader` | `admin` | find and list collections in every database; list databases; `serverStatus` |
//!
//! The reader sees every database, because MongoDB cannot grant privileges by a prefix of the name,
//! and vehicles are added at any time. It is a separate user, so that the user that changes jobs
//! cannot read vehicles, and the user that reads vehicles cannot change anything.

use bson::{Document, doc};
use export_mongo::StoreError;
use export_mongo::client::{MongoClient, bounded};
use export_mongo::server_errors::{ROLE_EXISTS, ROLE_NOT_FOUND, USER_EXISTS, USER_NOT_FOUND, has_code};
use mongodb::Database;
use mongodb::options::{AuthMechanism, ConnectionString};
use secrecy::{ExposeSecret, SecretString};

/// The authentication database when the connection string names none.
const DEFAULT_DATABASE: &str = "admin";

/// The purpose of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The API.
    Api,
    /// The worker's access to jobs.
    Worker,
    /// The worker's access to the vehicles' databases.
    VehicleReader,
}

/// The user in a connection string.
#[derive(Clone, Debug)]
pub struct MongoUser {
    name: String,
    password: SecretString,
    database: String,
}

impl MongoUser {
    /// The user in a connection string; `None` when it contains no user with a password.
    pub fn in_uri(uri: &SecretString) -> Option<Self> {
        let uri = ConnectionString::parse(uri.expose_secret()).ok()?;
        let credential = uri.credential?;
        let has_password_here = match credential.mechanism {
            None | Some(AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256) => true,
            // Certificates and tokens are configured elsewhere.
            Some(_) => false,
        };
        let name = credential.username.filter(|name| !name.is_empty() && has_password_here)?;
        let password = credential.password.filter(|password| !password.is_empty())?.into();
        let database =
            credential.source.or(uri.default_database).unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        Some(Self { name, password, database })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether both are the same user, ignoring passwords.
    pub fn is_same_as(&self, other: &Self) -> bool {
        (&self.name, &self.database) == (&other.name, &other.database)
    }
}

/// A role with its privileges.
#[derive(Debug)]
struct Role {
    name: &'static str,
    database: String,
    privileges: Vec<Document>,
}

impl Role {
    fn of(identity: Identity, jobs_database: &str) -> Self {
        let on = |collection: &str, actions: &[&str]| {
            let resource = doc! { "db": jobs_database, "collection": collection };
            doc! { "resource": resource, "actions": actions }
        };
        let in_jobs_database =
            |name, privileges| Self { name, database: jobs_database.to_owned(), privileges };
        match identity {
            Identity::Api => in_jobs_database(
                "exportsApi",
                vec![
                    on("jobs", &["find", "insert", "update", "changeStream"]),
                    // Shared by new jobs; expired, and removed where no worker writes them any
                    // more.
                    on("results", &["find", "update", "remove"]),
                    on("catalog", &["find"]),
                    on("apiKeys", &["find"]),
                    on("tenants", &["find"]),
                    on("workers", &["find"]),
                    on("outbox", &["find", "insert", "update"]),
                    on("turns", &["find", "insert", "update"]),
                    // Insert only: entries are never changed.
                    on("audit", &["insert"]),
                ],
            ),
            Identity::Worker => in_jobs_database(
                "exportsWorker",
                vec![
                    on("jobs", &["find", "update"]),
                    on("results", &["find", "insert", "update", "remove"]),
                    on("catalog", &["find", "insert", "update", "remove"]),
                    on("deadLetters", &["find", "insert", "update"]),
                    on("places", &["find", "insert", "update"]),
                    on("workers", &["find", "insert", "update"]),
                ],
            ),
            Identity::VehicleReader => {
                // Empty names mean every database and every collection, except MongoDB's own.
                let everywhere = doc! { "db": "", "collection": "" };
                Self {
                    name: "exportsVehicleReader",
                    // Only roles of this database can grant access to other databases.
                    database: DEFAULT_DATABASE.to_owned(),
                    privileges: vec![
                        doc! { "resource": everywhere, "actions": ["find", "listCollections"] },
                        doc! { "resource": { "cluster": true }, "actions": ["listDatabases", "serverStatus"] },
                    ],
                }
            }
        }
    }
}

/// Creates or updates the user: this password, and only the role of this identity. Safe to run
/// again.
pub async fn provision_user(
    mongo: &MongoClient,
    jobs_database: &str,
    identity: Identity,
    user: &MongoUser,
) -> Result<(), StoreError> {
    let role = Role::of(identity, jobs_database);
    let put_role = |name: &str| doc! { name: role.name, "privileges": &role.privileges, "roles": [] };
    let commands = ["updateRole", "createRole"].map(put_role);
    let database = mongo.client().database(&role.database);
    let put = update_or_create(database, commands, [ROLE_NOT_FOUND, ROLE_EXISTS]);
    bounded("create or update a role", put).await?;
    let put_user = |name: &str| {
        let role = doc! { "role": role.name, "db": &role.database };
        doc! { name: &user.name, "pwd": user.password.expose_secret(), "roles": [role] }
    };
    let commands = ["updateUser", "createUser"].map(put_user);
    let database = mongo.client().database(&user.database);
    let put = update_or_create(database, commands, [USER_NOT_FOUND, USER_EXISTS]);
    bounded("create or update a user", put).await
}

/// Runs the first command, which updates a role or a user. If the server answers that it does not
/// exist, runs the second command, which creates it.
async fn update_or_create(
    database: Database,
    [update, create]: [Document; 2],
    [not_found, exists]: [i32; 2],
) -> mongodb::error::Result<()> {
    match database.run_command(update.clone()).await {
        Err(error) if has_code(&error, not_found) => {}
        outcome => return outcome.map(drop),
    }
    match database.run_command(create).await {
        // Another process provisions at the same time.
        Err(error) if has_code(&error, exists) => database.run_command(update).await.map(drop),
        outcome => outcome.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uri: &str) -> Option<MongoUser> {
        MongoUser::in_uri(&uri.to_owned().into())
    }

    #[test]
    fn the_user_is_read_from_the_connection_string() {
        let found = user("mongodb://api:p%40ss@h:1,h:2/?replicaSet=rs0").expect("a user");
        let seen = (found.name(), found.password.expose_secret(), found.database.as_str());
        assert_eq!(seen, ("api", "p@ss", "admin"));
        assert_eq!(user("mongodb://api:x@h/jobs").expect("a user").database, "jobs");
        assert_eq!(user("mongodb://api:x@h/jobs?authSource=users").expect("a user").database, "users");
        assert!(!format!("{found:?}").contains("p@ss"));
    }

    #[test]
    fn without_name_and_password_there_is_no_user() {
        let without = ["mongodb://h/", "mongodb://api@h/", "mongodb://api:@h/", "mongodb://h:none:1/"];
        for uri in without {
            assert!(user(uri).is_none(), "{uri}");
        }
        assert!(user("mongodb://CN=api@h/?authMechanism=MONGODB-X509&authSource=$external").is_none());
    }

    #[test]
    fn the_same_name_in_another_database_is_another_user() {
        let users =
            ["mongodb://a:x@h/", "mongodb://a:y@h/?authSource=admin", "mongodb://a:x@h/?authSource=b"];
        let [first, second, third] = users.map(|uri| user(uri).expect("a user"));
        assert!(first.is_same_as(&second) && !first.is_same_as(&third));
    }
}
