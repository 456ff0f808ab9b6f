//! MongoDB: the API, the worker, and the worker's reader of vehicles.

use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::ErrorKind;

use super::Matrix;
use super::deployment::Deployment;

/// "Not authorized on … to execute command …"
const UNAUTHORIZED: i32 = 13;
const IDENTITIES: [&str; 3] = ["api", "worker", "source"];
const NO_IDENTITY: [bool; 3] = [false; 3];
const API: [bool; 3] = [true, false, false];
const WORKER: [bool; 3] = [false, true, false];
const SOURCE: [bool; 3] = [false, false, true];

/// A command, its database, and the identities that may run it.
struct Action {
    database: String,
    command: Document,
    allowed: [bool; 3],
}

fn find(collection: &str) -> Document {
    doc! { "find": collection, "limit": 1 }
}

fn insert(collection: &str) -> Document {
    doc! { "insert": collection, "documents": [{ "a": 1 }] }
}

fn update(collection: &str) -> Document {
    doc! { "update": collection, "updates": [{ "q": { "_id": "there" }, "u": [{ "$set": { "a": "$$NOW" } }] }] }
}

fn upsert(collection: &str) -> Document {
    let change = doc! { "q": { "_id": "new" }, "u": [{ "$set": { "a": "$$NOW" } }], "upsert": true };
    doc! { "update": collection, "updates": [change] }
}

fn delete(collection: &str) -> Document {
    doc! { "delete": collection, "deletes": [{ "q": { "_id": "nothing" }, "limit": 1 }] }
}

fn index(collection: &str) -> Document {
    doc! { "createIndexes": collection, "indexes": [{ "key": { "a": 1 }, "name": "a" }] }
}

fn watch(collection: &str) -> Document {
    doc! { "aggregate": collection, "pipeline": [{ "$changeStream": {} }], "cursor": {} }
}

/// Commands with the identities that may run them.
type Commands = Vec<(Document, [bool; 3])>;

/// Commands in the database of the jobs. Commands that no identity may run come last, so that
/// everything exists by then.
fn on_jobs() -> Commands {
    // The reader of vehicles can read every database, because MongoDB has no rights by prefix of a
    // name.
    let (everyone, api_and_worker) = ([true; 3], [true, true, false]);
    let worker_and_source = [false, true, true];
    let create = doc! {
        "findAndModify": "jobs",
        "query": { "_id": "created" },
        "update": [{ "$replaceWith": { "$mergeObjects": [{ "$literal": { "state": "NOT_STARTED" } }, { "at": "$$NOW" }] } }],
        "upsert": true,
        "new": true,
        "writeConcern": { "w": "majority", "j": true },
    };
    let claim = doc! {
        "findAndModify": "jobs",
        "query": { "_id": "there" },
        "update": [{ "$set": { "state": "STARTED" } }],
        "new": true,
        "writeConcern": { "w": "majority", "j": true },
    };
    let sweep = doc! { "aggregate": "jobs", "pipeline": [{ "$match": { "$expr": true } }], "cursor": {} };
    vec![
        (find("jobs"), everyone),
        (sweep, everyone),
        (create, API),
        (claim, api_and_worker),
        (insert("jobs"), API),
        (update("jobs"), api_and_worker),
        (upsert("jobs"), API),
        (find("catalog"), everyone),
        (insert("catalog"), WORKER),
        (update("catalog"), WORKER),
        (upsert("catalog"), WORKER),
        (delete("catalog"), WORKER),
        (find("apiKeys"), [true, false, true]),
        (find("tenants"), [true, false, true]),
        (watch("jobs"), API),
        (find("outbox"), [true, false, true]),
        (insert("outbox"), API),
        (update("outbox"), API),
        (upsert("outbox"), API),
        (find("turns"), [true, false, true]),
        (insert("turns"), API),
        (update("turns"), API),
        (upsert("turns"), API),
        (find("places"), worker_and_source),
        (insert("places"), WORKER),
        (update("places"), WORKER),
        (upsert("places"), WORKER),
        (find("workers"), everyone),
        (insert("workers"), WORKER),
        (upsert("workers"), WORKER),
        (find("audit"), SOURCE),
        (insert("audit"), API),
        (find("deadLetters"), worker_and_source),
        (insert("deadLetters"), WORKER),
        (upsert("deadLetters"), WORKER),
        (find("other"), SOURCE),
        (doc! { "listCollections": 1 }, SOURCE),
        (doc! { "listIndexes": "jobs" }, NO_IDENTITY),
        (delete("jobs"), NO_IDENTITY),
        (delete("deadLetters"), NO_IDENTITY),
        (delete("outbox"), NO_IDENTITY),
        (delete("places"), NO_IDENTITY),
        (delete("turns"), NO_IDENTITY),
        (delete("workers"), NO_IDENTITY),
        (update("audit"), NO_IDENTITY),
        (upsert("audit"), NO_IDENTITY),
        (delete("audit"), NO_IDENTITY),
        (insert("apiKeys"), NO_IDENTITY),
        (update("apiKeys"), NO_IDENTITY),
        (delete("apiKeys"), NO_IDENTITY),
        (insert("tenants"), NO_IDENTITY),
        (update("tenants"), NO_IDENTITY),
        (delete("tenants"), NO_IDENTITY),
        (insert("other"), NO_IDENTITY),
        (update("other"), NO_IDENTITY),
        (delete("other"), NO_IDENTITY),
        (index("jobs"), NO_IDENTITY),
        (index("catalog"), NO_IDENTITY),
        (doc! { "dropIndexes": "jobs", "index": "*" }, NO_IDENTITY),
        (doc! { "collMod": "jobs", "validationLevel": "off" }, NO_IDENTITY),
        (doc! { "collStats": "jobs" }, NO_IDENTITY),
        (doc! { "create": "more" }, NO_IDENTITY),
        (watch("outbox"), NO_IDENTITY),
        (watch("apiKeys"), NO_IDENTITY),
        (doc! { "aggregate": "jobs", "pipeline": [{ "$out": "other" }], "cursor": {} }, NO_IDENTITY),
        (doc! { "createUser": "more", "pwd": "more", "roles": [] }, NO_IDENTITY),
        (doc! { "createRole": "more", "privileges": [], "roles": [] }, NO_IDENTITY),
        (doc! { "drop": "deadLetters" }, NO_IDENTITY),
        (doc! { "drop": "jobs" }, NO_IDENTITY),
        (doc! { "dropDatabase": 1 }, NO_IDENTITY),
    ]
}

/// On the results, in the same database.
fn on_results() -> Commands {
    let api_and_worker = [true, true, false];
    vec![
        (find("results"), [true; 3]),
        (insert("results"), WORKER),
        (update("results"), api_and_worker),
        (upsert("results"), WORKER),
        (delete("results"), api_and_worker),
        (watch("results"), NO_IDENTITY),
        (index("results"), NO_IDENTITY),
        (doc! { "collMod": "results", "validationLevel": "off" }, NO_IDENTITY),
        (doc! { "drop": "results" }, NO_IDENTITY),
    ]
}

/// In a vehicle's database.
fn on_a_vehicle() -> Commands {
    vec![
        (find("soc"), SOURCE),
        (doc! { "aggregate": "soc", "pipeline": [], "cursor": {} }, SOURCE),
        (doc! { "listCollections": 1 }, SOURCE),
        (insert("soc"), NO_IDENTITY),
        (update("soc"), NO_IDENTITY),
        (upsert("soc"), NO_IDENTITY),
        (delete("soc"), NO_IDENTITY),
        (index("soc"), NO_IDENTITY),
        (insert("more"), NO_IDENTITY),
        (doc! { "create": "more" }, NO_IDENTITY),
        (doc! { "drop": "soc" }, NO_IDENTITY),
        (doc! { "dropDatabase": 1 }, NO_IDENTITY),
    ]
}

/// In MongoDB's own.
fn on_admin(deployment: &Deployment) -> Commands {
    let name = deployment.user("api");
    let from = format!("{}.jobs", deployment.space.jobs_database);
    vec![
        (doc! { "ping": 1 }, [true; 3]),
        (doc! { "listDatabases": 1, "authorizedDatabases": false }, SOURCE),
        (find("system.users"), NO_IDENTITY),
        (find("system.roles"), NO_IDENTITY),
        (insert("more"), NO_IDENTITY),
        (doc! { "usersInfo": 1 }, NO_IDENTITY),
        (doc! { "createUser": "more", "pwd": "more", "roles": ["root"] }, NO_IDENTITY),
        (doc! { "updateUser": &name, "pwd": "more" }, NO_IDENTITY),
        (doc! { "grantRolesToUser": &name, "roles": ["root"] }, NO_IDENTITY),
        (doc! { "dropUser": &name }, NO_IDENTITY),
        (doc! { "renameCollection": &from, "to": format!("{from}2") }, NO_IDENTITY),
        (doc! { "serverStatus": 1 }, SOURCE),
        (doc! { "replSetGetStatus": 1 }, NO_IDENTITY),
        (doc! { "getParameter": "*" }, NO_IDENTITY),
        (doc! { "getLog": "global" }, NO_IDENTITY),
        (doc! { "killOp": 1, "op": 1 }, NO_IDENTITY),
        (doc! { "fsync": 1 }, NO_IDENTITY),
    ]
}

/// All tried commands.
fn actions(deployment: &Deployment) -> Vec<Action> {
    let space = &deployment.space;
    let local = vec![(find("oplog.rs"), NO_IDENTITY), (insert("more"), NO_IDENTITY)];
    let by_database = [
        (space.jobs_database.clone(), on_results()),
        (space.jobs_database.clone(), on_jobs()),
        (space.vehicle("001"), on_a_vehicle()),
        ("admin".to_owned(), on_admin(deployment)),
        ("local".to_owned(), local),
    ];
    let actions = by_database.into_iter().flat_map(|(database, commands)| {
        commands.into_iter().map(move |(command, allowed)| Action {
            database: database.clone(),
            command,
            allowed,
        })
    });
    actions.collect()
}

#[tokio::test]
async fn each_identity_can_do_what_is_listed_and_nothing_else() {
    let deployment = Deployment::create().await;
    let space = &deployment.space;
    space.insert_hours("001", "soc", vec![doc! { "_id": "there" }]).await;
    // Skips the schema validation, because this test is about rights.
    let database = space.mongodb.database(&space.jobs_database);
    for collection in ["jobs", "results"] {
        let unvalidated = doc! { "collMod": collection, "validationLevel": "off" };
        database.run_command(unvalidated).await.expect("no validation");
    }
    for collection in ["jobs", "results", "catalog", "apiKeys", "outbox", "audit", "deadLetters", "other"] {
        database.collection(collection).insert_one(doc! { "_id": "there" }).await.expect("inserted");
    }

    let mut matrix = Matrix::default();
    for (index, identity) in IDENTITIES.into_iter().enumerate() {
        let uri = deployment.mongodb_uri(identity, &deployment.password);
        let client = Client::with_uri_str(uri).await.expect("a client");
        for Action { database, command, allowed } in actions(&deployment) {
            let outcome = client.database(&database).run_command(command.clone()).await;
            let refused = match outcome {
                Ok(answer) => {
                    assert!(answer.get_array("writeErrors").is_err(), "{command}: {answer}");
                    None
                }
                Err(error) => match &*error.kind {
                    ErrorKind::Command(error) if error.code == UNAUTHORIZED => Some(error.message.clone()),
                    _ => panic!("{identity}, {database}, {command}: {error}"),
                },
            };
            matrix.note(&format!("{command} in {database}"), identity, allowed[index], refused);
        }
    }
    matrix.check(200);
    deployment.cleanup().await;
}

#[tokio::test]
async fn the_worker_sees_no_vehicle_but_by_its_reader() {
    let deployment = Deployment::create().await;
    deployment.space.insert_hours("001", "soc", vec![doc! { "_id": "there" }]).await;
    let vehicle = deployment.space.vehicle("001");
    for (identity, is_seen) in [("api", false), ("worker", false), ("source", true)] {
        let uri = deployment.mongodb_uri(identity, &deployment.password);
        let client = Client::with_uri_str(uri).await.expect("a client");
        let names = client.list_database_names().await.expect("names");
        assert_eq!(names.contains(&vehicle), is_seen, "{identity}: {names:?}");
    }
    deployment.cleanup().await;
}
