//! A deployment for one test: its own database, virtual host and users.

use export_testkit::isolation::TestSpace;
use export_testkit::program::{Ended, Program};

use crate::space::EXPORTS;

/// A provisioned deployment on the real services.
pub(crate) struct Deployment {
    pub(crate) space: TestSpace,
    /// The password of all users.
    pub(crate) password: String,
    virtual_host: String,
}

impl Deployment {
    /// A provisioned deployment with all users.
    pub(crate) async fn create() -> Self {
        let deployment = Self::prepare().await;
        let ended = deployment.provision(&deployment.password);
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        deployment
    }

    /// A virtual host and a bucket, not provisioned.
    pub(crate) async fn prepare() -> Self {
        let space = TestSpace::create().await;
        let virtual_host = format!("exports-{}", space.id);
        let deployment = Self { password: format!("hunter2-{}", space.id), virtual_host, space };
        let (administrator, _) = deployment.administrator();
        let permissions = r#"{"configure":".*","write":".*","read":".*"}"#;
        deployment.manage("PUT", &format!("vhosts/{}", deployment.virtual_host), "{}");
        let path = format!("permissions/{}/{administrator}", deployment.virtual_host);
        deployment.manage("PUT", &path, permissions);
        deployment
    }

    /// Name of the test's user of this service.
    pub(crate) fn user(&self, service: &str) -> String {
        format!("{service}-{}", self.space.id)
    }

    pub(crate) fn mongodb_uri(&self, service: &str, password: &str) -> String {
        self.space.services.mongodb_uri_as(&self.user(service), password)
    }

    pub(crate) fn rabbitmq_url(&self, service: &str, password: &str) -> String {
        let (_, address) = self.administrator();
        format!("amqp://{}:{password}@{address}/{}", self.user(service), self.virtual_host)
    }

    /// Runs `exports provision` with this password for all users.
    pub(crate) fn provision(&self, password: &str) -> Ended {
        self.program(password).run()
    }

    pub(crate) fn program(&self, password: &str) -> Program {
        let services = &self.space.services;
        let (_, address) = self.administrator();
        let (user, _) = services.rabbitmq_url.split_once('@').expect("a user");
        let virtual_host = &self.virtual_host;
        Program::new(EXPORTS, &["provision"], &[])
            .with("MONGODB_URI", &services.mongodb_uri)
            .with("JOBS_DATABASE", &self.space.jobs_database)
            .with("API_MONGODB_URI", &self.mongodb_uri("api", password))
            .with("WORKER_MONGODB_URI", &self.mongodb_uri("worker", password))
            .with("WORKER_SOURCE_MONGODB_URI", &self.mongodb_uri("source", password))
            .with("RABBITMQ_URL", &format!("{user}@{address}/{virtual_host}"))
            .with("RABBITMQ_MANAGEMENT_URL", &services.rabbitmq_management_url)
            .with("API_RABBITMQ_URL", &self.rabbitmq_url("api", password))
            .with("WORKER_RABBITMQ_URL", &self.rabbitmq_url("worker", password))
            .with("S3_BUCKET", &self.space.bucket)
            .with("S3_FORCE_PATH_STYLE", "true")
            .with("AWS_REGION", "us-east-1")
            .with("AWS_ENDPOINT_URL_S3", &services.s3_endpoint_url)
            .with("AWS_ACCESS_KEY_ID", &services.s3_access_key_id)
            .with("AWS_SECRET_ACCESS_KEY", &services.s3_secret_access_key)
    }

    /// Name of the broker's administrator, and host and port of the broker.
    fn administrator(&self) -> (&str, &str) {
        let (_, rest) = self.space.services.rabbitmq_url.split_once("://").expect("a URL");
        let (user, address) = rest.split_once('@').expect("a user");
        (user.split(':').next().expect("a name"), address.split('/').next().expect("an address"))
    }

    /// Calls the broker's management API as its administrator; returns the answer. Panics if it
    /// refuses.
    pub(crate) fn manage(&self, method: &str, path: &str, body: &str) -> String {
        let services = &self.space.services;
        let (_, rest) = services.rabbitmq_url.split_once("://").expect("a URL");
        let (user, _) = rest.split_once('@').expect("a user");
        let (status, answer) = self.ask(user, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Calls the broker's management API as `name:password`.
    pub(crate) fn ask(&self, user: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        let url = &self.space.services.rabbitmq_management_url;
        let url = url.trim_end_matches('/').replacen("://", &format!("://{user}@"), 1);
        let request = ureq::http::Request::builder().method(method).uri(format!("{url}/api/{path}"));
        let request = request.header("content-type", "application/json").body(body.to_owned());
        let agent: ureq::Agent =
            ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into();
        let mut answer = agent.run(request.expect("a request")).expect("an answer");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
    }

    /// Deletes users, roles, virtual host, bucket and databases.
    pub(crate) async fn cleanup(self) {
        for service in ["api", "worker"] {
            self.manage("DELETE", &format!("users/{}", self.user(service)), "");
        }
        self.manage("DELETE", &format!("vhosts/{}", self.virtual_host), "");
        let admin = self.space.mongodb.database("admin");
        for service in ["api", "worker", "source"] {
            admin.run_command(bson::doc! { "dropUser": self.user(service) }).await.expect("dropped");
        }
        let jobs = self.space.mongodb.database(&self.space.jobs_database);
        jobs.run_command(bson::doc! { "dropAllRolesFromDatabase": 1 }).await.expect("dropped");
        self.space.cleanup().await;
    }
}
