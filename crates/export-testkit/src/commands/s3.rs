//! An S3 server for one machine: objects are files below a directory.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use export_testkit::s3_server::{AccessLog, Identity, Policy, S3Server};
use serde_json::Value;
use tokio::net::TcpListener;

/// Serve S3 from a directory until SIGTERM or ctrl-c.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Address to listen on; port 0 picks a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Directory for buckets and objects; made when missing.
    #[arg(long)]
    root: PathBuf,
    /// The administrator's access key, which may do everything.
    #[arg(long, env = "TEST_S3_ACCESS_KEY_ID")]
    access_key: String,
    /// Its secret.
    #[arg(long, env = "TEST_S3_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_key: String,
    /// JSON list of more keys and their permissions: `accessKeyId`, `secretAccessKey` and `policy`,
    /// an IAM policy document.
    #[arg(long, env = "TEST_S3_IDENTITIES", hide_env_values = true, default_value = "[]")]
    identities: String,
    /// File for a line of JSON about each request that may change something.
    #[arg(long)]
    access_log: Option<PathBuf>,
    /// Refuse to complete uploads whose parts differ in size, as Cloudflare R2 does.
    #[arg(long)]
    equal_parts: bool,
    /// Run only when no other program wants the processor (Linux): for measurements of everything
    /// except the S3 server.
    #[arg(long)]
    pub(crate) in_background: bool,
}

/// Serves until asked to stop. Fails when the address is taken or the directory cannot be used.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let administrator = Identity {
        access_key_id: arguments.access_key,
        secret_access_key: arguments.secret_key,
        policy: None,
    };
    let more: Vec<Value> =
        serde_json::from_str(&arguments.identities).context("--identities is no JSON list")?;
    let mut identities = vec![administrator];
    for identity in &more {
        identities.push(read_identity(identity).context("--identities")?);
    }
    let root = &arguments.root;
    let mut server =
        S3Server::new(root, identities).with_context(|| format!("cannot use {}", root.display()))?;
    if let Some(path) = &arguments.access_log {
        let log = AccessLog::to(path).with_context(|| format!("cannot write {}", path.display()))?;
        server = server.logging_to(log);
    }
    if arguments.equal_parts {
        server = server.demanding_equal_parts();
    }
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    Ok(server.serve(listener, super::asked_to_stop()).await?)
}

fn read_identity(identity: &Value) -> anyhow::Result<Identity> {
    let text =
        |name: &str| identity[name].as_str().map(str::to_owned).with_context(|| format!("{name} is missing"));
    Ok(Identity {
        access_key_id: text("accessKeyId")?,
        secret_access_key: text("secretAccessKey")?,
        policy: Some(Policy::parse(&identity["policy"]).map_err(|error| anyhow!("policy: {error}"))?),
    })
}
