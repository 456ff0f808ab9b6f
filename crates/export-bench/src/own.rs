//! Names and settings of one run, on services that other runs may share.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use uuid::Uuid;

/// Databases, queues and a bucket of one run, created by `exports provision`.
#[derive(Clone)]
pub struct Own {
    /// Name of its database of jobs, of its bucket, and the prefix of its queues' names.
    pub name: String,
    /// Prefix of the names of its vehicles' databases.
    pub vehicle_prefix: String,
    /// MongoDB's URI for the administrator.
    pub mongodb_uri: String,
    /// The broker.
    pub rabbitmq_url: String,
    programs: PathBuf,
    settings: Vec<(&'static str, String)>,
}

impl Own {
    /// Provisions on the services whose addresses `cargo xtask` passes in the environment.
    /// `programs` is the folder of the project's programs, `command` the one to name in errors.
    pub async fn provision(programs: &Path, command: &str, prefix: &str) -> anyhow::Result<Self> {
        let given = |name: &str| env::var(name).with_context(|| format!("{name}: run `{command}`"));
        // The second half of the UUID: the first half is the time, which runs that begin together
        // share.
        let id = Uuid::now_v7().simple().to_string();
        let name = format!("{prefix}-{}", &id[16..]);
        let vehicle_prefix = format!("{name}-vehicle_");
        let (mongodb_uri, rabbitmq_url) = (given("TEST_MONGODB_URI")?, given("TEST_RABBITMQ_URL")?);
        let settings = vec![
            ("MONGODB_URI", mongodb_uri.clone()),
            ("RABBITMQ_URL", rabbitmq_url.clone()),
            ("JOBS_DATABASE", name.clone()),
            ("VEHICLE_DATABASE_PREFIX", vehicle_prefix.clone()),
            ("RABBITMQ_NAME_PREFIX", name.clone()),
            ("S3_BUCKET", name.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL_S3", given("TEST_S3_ENDPOINT_URL")?),
            ("AWS_ACCESS_KEY_ID", given("TEST_S3_ACCESS_KEY_ID")?),
            ("AWS_SECRET_ACCESS_KEY", given("TEST_S3_SECRET_ACCESS_KEY")?),
            ("S3_FORCE_PATH_STYLE", "true".to_owned()),
        ];
        let own =
            Self { name, vehicle_prefix, mongodb_uri, rabbitmq_url, programs: programs.to_owned(), settings };
        let provisioned = own.program("exports").arg("provision").stdout(Stdio::null()).status().await;
        let provisioned = provisioned.context("`exports provision` does not start")?;
        ensure!(provisioned.success(), "`exports provision` failed ({provisioned})");
        Ok(own)
    }

    /// A program of the project with the settings that it needs to reach these services, and no
    /// others: the defaults are measured, independently of the developer's shell.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.env_clear().envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// An address of this machine on which nothing listens.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
