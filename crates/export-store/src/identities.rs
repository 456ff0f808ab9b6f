//! The services' users and their roles: each may do what its program does, and nothing else.
//!
//! | role | where | may |
//! |---|---|---|
//! | `exportsApi` | jobs' database | find, insert, update on `jobs`; find, update, remove on `results`; find on `catalog`, `apiKeys`; find, insert, update on `outbox`, `turns`; insert on `audit` |
//! | `exportsWorker` | jobs' database | find, update on `jobs`; find, insert, update, remove on `results`; find, insert, update, remove on `catalog`; find, insert, update on `deadLetters`, `places` |
//! | `exportsVehicleReader` | `admin` | find and list collections in every database; list databases; ask the server how it is |
//!
//! The reader sees every database because MongoDB cannot grant by the beginning of a name, and vehicles come and go. It is a user
//! of its own, so that the one which may change jobs can read no vehicle, and the one which reads vehicles can change nothing.

use bson::{Document, doc};
use export_mongo::StoreError;
use export_mongo::client::{MongoClient, bounded};
use export_mongo::server_errors::has_code;
use mongodb::Client;
use mongodb::options::{AuthMechanism, ConnectionString};
use secrecy::{ExposeSecret, SecretString};

/// Where users are whose connection string names no other database.
const DEFAULT_DATABASE: &str = "admin";
/// The server's codes.
const USER_NOT_FOUND: i32 = 11;
const ROLE_NOT_FOUND: i32 = 31;
const ROLE_EXISTS: i32 = 51002;
const USER_EXISTS: i32 = 51003;

/// What a user is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The API.
    Api,
    /// The worker's side of the jobs.
    Worker,
    /// The worker's side of the vehicles.
    VehicleReader,
}

/// A user as a connection string names it.
#[derive(Clone, Debug)]
pub struct MongoUser {
    name: String,
    password: SecretString,
    database: String,
}

impl MongoUser {
    /// The user in a connection string; none if that names no user with a password.
    pub fn in_uri(uri: &SecretString) -> Option<Self> {
        let uri = ConnectionString::parse(uri.expose_secret()).ok()?;
        let credential = uri.credential?;
        let has_password_here = match credential.mechanism {
            None | Some(AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256) => true,
            // Certificates and tokens are given elsewhere.
            Some(_) => false,
        };
        let name = credential.username.filter(|name| !name.is_empty() && has_password_here)?;
        let password = credential.password.filter(|password| !password.is_empty())?.into();
        let database =
            credential.source.or(uri.default_database).unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        Some(Self { name, password, database })
    }

    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether both are the same user, whatever their passwords.
    pub fn is_same_as(&self, other: &Self) -> bool {
        (&self.name, &self.database) == (&other.name, &other.database)
    }
}

/// A role: its name, its database, what it may do.
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
                    // Shared by new jobs; expired, and removed where no worker writes them any more.
                    on("results", &["find", "update", "remove"]),
                    on("catalog", &["find"]),
                    on("apiKeys", &["find"]),
                    on("outbox", &["find", "insert", "update"]),
                    on("turns", &["find", "insert", "update"]),
                    // What was written there stays as it is.
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
                ],
            ),
            Identity::VehicleReader => {
                // Empty names stand for every database and every collection but MongoDB's own.
                let everywhere = doc! { "db": "", "collection": "" };
                Self {
                    name: "exportsVehicleReader",
                    // Only there can a role reach into other databases.
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

/// Makes the user with the role of this identity, or gives it this password and this role alone.
pub async fn provision_user(
    mongo: &MongoClient,
    jobs_database: &str,
    identity: Identity,
    user: &MongoUser,
) -> Result<(), StoreError> {
    let role = Role::of(identity, jobs_database);
    let role_reference = doc! { "role": role.name, "db": &role.database };
    let client = mongo.client().clone();
    bounded("make a role", async move { put_role(&client, role).await }).await?;
    let (client, user) = (mongo.client().clone(), user.clone());
    bounded("make a user", async move { put_user(&client, user, role_reference).await }).await
}

async fn put_role(client: &Client, role: Role) -> mongodb::error::Result<()> {
    let database = client.database(&role.database);
    let command = |name: &str| doc! { name: role.name, "privileges": &role.privileges, "roles": [] };
    let (update, create) = (command("updateRole"), command("createRole"));
    match database.run_command(update.clone()).await {
        Err(error) if has_code(&error, ROLE_NOT_FOUND) => {}
        outcome => return outcome.map(drop),
    }
    match database.run_command(create).await {
        // Somebody else provisions at the same time.
        Err(error) if has_code(&error, ROLE_EXISTS) => database.run_command(update).await.map(drop),
        outcome => outcome.map(drop),
    }
}

async fn put_user(client: &Client, user: MongoUser, role: Document) -> mongodb::error::Result<()> {
    let database = client.database(&user.database);
    let command =
        |name: &str| doc! { name: &user.name, "pwd": user.password.expose_secret(), "roles": [role.clone()] };
    match database.run_command(command("updateUser")).await {
        Err(error) if has_code(&error, USER_NOT_FOUND) => {}
        outcome => return outcome.map(drop),
    }
    match database.run_command(command("createUser")).await {
        Err(error) if has_code(&error, USER_EXISTS) => {
            database.run_command(command("updateUser")).await.map(drop)
        }
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
    fn a_user_is_taken_out_of_the_connection_string() {
        let found = user("mongodb://api:p%40ss@h:1,h:2/?replicaSet=rs0").expect("a user");
        let seen = (found.name(), found.password.expose_secret(), found.database.as_str());
        assert_eq!(seen, ("api", "p@ss", "admin"));
        assert_eq!(user("mongodb://api:x@h/jobs").expect("a user").database, "jobs");
        assert_eq!(user("mongodb://api:x@h/jobs?authSource=users").expect("a user").database, "users");
        assert!(!format!("{found:?}").contains("p@ss"));
    }

    #[test]
    fn without_name_and_password_there_is_none() {
        let without = ["mongodb://h/", "mongodb://api@h/", "mongodb://api:@h/", "mongodb://h:none:1/"];
        for uri in without {
            assert!(user(uri).is_none(), "{uri}");
        }
        assert!(user("mongodb://CN=api@h/?authMechanism=MONGODB-X509&authSource=$external").is_none());
    }

    #[test]
    fn the_same_name_elsewhere_is_another_user() {
        let users =
            ["mongodb://a:x@h/", "mongodb://a:y@h/?authSource=admin", "mongodb://a:x@h/?authSource=b"];
        let [first, second, third] = users.map(|uri| user(uri).expect("a user"));
        assert!(first.is_same_as(&second) && !first.is_same_as(&third));
    }
}
