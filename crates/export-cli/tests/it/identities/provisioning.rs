//! `exports provision` again, with another password, without users, and with settings that it must
//! refuse.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_testkit::program::assert_refuses;
use mongodb::Client;

use super::deployment::Deployment;

/// How long provisioning waits for services that are not available yet.
const WAIT: Duration = Duration::from_mins(1);

/// Roles and users in MongoDB, users and permissions in RabbitMQ: all but the salted passwords.
async fn state(deployment: &Deployment) -> (Vec<Document>, Vec<String>) {
    let space = &deployment.space;
    let mut documents = Vec::new();
    for database in [space.jobs_database.as_str(), "admin"] {
        let roles = doc! { "rolesInfo": 1, "showPrivileges": true };
        documents.push(space.mongodb.database(database).run_command(roles).await.expect("roles"));
    }
    for service in ["api", "worker", "source"] {
        let users = doc! { "usersInfo": deployment.user(service) };
        documents.push(space.mongodb.database("admin").run_command(users).await.expect("users"));
    }
    for document in &mut documents {
        for time in ["operationTime", "$clusterTime"] {
            document.remove(time);
        }
    }
    let permissions = ["api", "worker"].map(|service| {
        deployment.manage("GET", &format!("users/{}/permissions", deployment.user(service)), "")
    });
    (documents, permissions.to_vec())
}

async fn gets_in(uri: &str) -> bool {
    let client = Client::with_uri_str(uri).await.expect("a client");
    client.database("admin").run_command(doc! { "ping": 1 }).await.is_ok()
}

#[tokio::test]
async fn provisioning_again_changes_nothing() {
    let deployment = Deployment::create().await;
    let first = state(&deployment).await;
    let ended = deployment.provision(&deployment.password);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(!ended.output.contains("hunter2"), "{}", ended.output);
    assert!(ended.output.contains(&deployment.user("source")), "{}", ended.output);
    assert_eq!(state(&deployment).await, first);
    deployment.cleanup().await;
}

#[tokio::test]
async fn provisioning_sets_another_password_and_undoes_manual_changes() {
    let deployment = Deployment::create().await;
    let first = state(&deployment).await;
    let admin = deployment.space.mongodb.database("admin");
    let more = doc! { "grantRolesToUser": deployment.user("api"), "roles": ["root"] };
    admin.run_command(more).await.expect("granted");
    let jobs = deployment.space.mongodb.database(&deployment.space.jobs_database);
    let less = doc! { "updateRole": "exportsWorker", "privileges": [], "roles": [] };
    jobs.run_command(less).await.expect("changed");
    assert_ne!(state(&deployment).await, first);

    let ended = deployment.provision("hunter3");
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert_eq!(state(&deployment).await, first);
    for service in ["api", "worker", "source"] {
        assert!(gets_in(&deployment.mongodb_uri(service, "hunter3")).await, "{service}");
        assert!(!gets_in(&deployment.mongodb_uri(service, &deployment.password)).await, "{service}");
    }
    for service in ["api", "worker"] {
        let ask = |password: &str| {
            deployment.ask(&format!("{}:{password}", deployment.user(service)), "GET", "whoami", "")
        };
        // The new password is valid but has no right to the management API; the old one is not
        // valid.
        assert!(ask("hunter3").1.contains("Not_Authorized") || ask("hunter3").1.contains("management"));
        assert!(!ask(&deployment.password).1.contains("management"), "{service}");
    }
    deployment.cleanup().await;
}

#[tokio::test]
async fn without_users_in_the_settings_none_are_created() {
    let deployment = Deployment::prepare().await;
    let mut program = deployment.program("hunter3");
    for setting in ["API_MONGODB_URI", "WORKER_MONGODB_URI", "WORKER_SOURCE_MONGODB_URI"] {
        program = program.without(setting);
    }
    let ended = program.without("API_RABBITMQ_URL").without("WORKER_RABBITMQ_URL").run();
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert_eq!(ended.output.matches("no MongoDB user in the settings").count(), 3, "{}", ended.output);
    assert_eq!(ended.output.matches("no RabbitMQ user in the settings").count(), 2, "{}", ended.output);
    // So that the clean-up finds everything.
    assert_eq!(deployment.provision("hunter3").code, Some(0));
    deployment.cleanup().await;
}

#[tokio::test]
async fn unusable_users_are_refused() {
    let deployment = Deployment::create().await;
    let program = deployment.program(&deployment.password);
    let services = &deployment.space.services;
    for setting in ["API_MONGODB_URI", "WORKER_MONGODB_URI", "WORKER_SOURCE_MONGODB_URI"] {
        assert_refuses(&program.clone().with(setting, "mongodb://hunter2@127.0.0.1:1/"), setting);
        assert_refuses(&program.clone().with(setting, "amqp://user:hunter2@127.0.0.1:1/"), setting);
        // The administrator would lose its rights.
        assert_refuses(&program.clone().with(setting, &services.mongodb_uri), setting);
    }
    for setting in ["API_RABBITMQ_URL", "WORKER_RABBITMQ_URL"] {
        assert_refuses(&program.clone().with(setting, "amqp://hunter2@127.0.0.1:1/"), setting);
        assert_refuses(&program.clone().with(setting, &services.rabbitmq_url), setting);
        assert_refuses(&program.clone().without("RABBITMQ_MANAGEMENT_URL"), "RABBITMQ_MANAGEMENT_URL");
    }
    let of_worker = deployment.mongodb_uri("worker", &deployment.password);
    assert_refuses(&program.clone().with("API_MONGODB_URI", &of_worker), "WORKER_MONGODB_URI");

    let elsewhere = deployment.rabbitmq_url("api", &deployment.password);
    let (base, _) = elsewhere.rsplit_once('/').expect("a virtual host");
    let ended = program.clone().with("API_RABBITMQ_URL", &format!("{base}/%2f")).run();
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(ended.output.contains("another virtual host"), "{}", ended.output);
    deployment.cleanup().await;
}

#[tokio::test]
async fn e3_a_wrong_password_of_the_administrator_ends_provisioning_at_once() {
    let deployment = Deployment::create().await;
    let program = deployment.program(&deployment.password);
    let rabbitmq = deployment.rabbitmq_url("api", "hunter3");
    let without_virtual_host = format!("{}-missing", deployment.rabbitmq_url("api", &deployment.password));
    for (setting, value, reason) in [
        ("MONGODB_URI", deployment.mongodb_uri("api", "hunter3"), "the password of MONGODB_URI is wrong"),
        ("RABBITMQ_URL", rabbitmq, "the password of RABBITMQ_URL is wrong"),
        ("RABBITMQ_URL", without_virtual_host, "RabbitMQ refused the virtual host"),
    ] {
        // Each of these connection strings names a service's user, too: that setting must go.
        let same_user = format!("API_{setting}");
        let program = program.clone().without(&same_user).with(setting, &value);
        let start = Instant::now();
        let ended = program.run();
        assert_eq!(ended.code, Some(1), "{}", ended.output);
        assert!(ended.output.contains(reason), "{reason}: {}", ended.output);
        assert!(!ended.output.contains("hunter"), "{}", ended.output);
        assert!(start.elapsed() < WAIT, "{setting}: {:?}", start.elapsed());
    }
    deployment.cleanup().await;
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_reported_with_the_remedy() {
    let deployment = Deployment::prepare().await;
    let path = deployment.rabbitmq_url("api", "");
    let (_, virtual_host) = path.rsplit_once('/').expect("a virtual host");
    let queue = format!("queues/{virtual_host}/exports.jobs");
    deployment.manage("PUT", &queue, r#"{"durable":true,"arguments":{"x-queue-type":"quorum"}}"#);
    let ended = deployment.provision("hunter3");
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(ended.output.contains("exports.jobs exists with other arguments"), "{}", ended.output);
    assert!(ended.output.contains("delete it"), "{}", ended.output);
    assert!(!ended.output.contains("hunter"), "{}", ended.output);

    deployment.manage("DELETE", &queue, "");
    assert_eq!(deployment.provision("hunter3").code, Some(0));
    deployment.cleanup().await;
}
