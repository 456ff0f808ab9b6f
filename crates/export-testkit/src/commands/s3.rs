//! An S3 server for one machine: objects are files below a directory.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use export_testkit::s3_server::{Identity, Policy, S3Server};
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
    /// JSON file with one more key and what it may do: `accessKeyId`, `secretAccessKey` and `policy`, an IAM policy document.
    #[arg(long = "identity", value_name = "FILE")]
    identities: Vec<PathBuf>,
}

/// Serves until asked to stop. Fails when the address is taken or the directory cannot be used.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let administrator = Identity {
        access_key_id: arguments.access_key,
        secret_access_key: arguments.secret_key,
        policy: None,
    };
    let mut identities = vec![administrator];
    for path in &arguments.identities {
        identities.push(read_identity(path).with_context(|| path.display().to_string())?);
    }
    let root = &arguments.root;
    let server = S3Server::new(root, identities).with_context(|| format!("cannot use {}", root.display()))?;
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    Ok(server.serve(listener, super::asked_to_stop()).await?)
}

fn read_identity(path: &Path) -> anyhow::Result<Identity> {
    let identity: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let text =
        |name: &str| identity[name].as_str().map(str::to_owned).with_context(|| format!("{name} is missing"));
    Ok(Identity {
        access_key_id: text("accessKeyId")?,
        secret_access_key: text("secretAccessKey")?,
        policy: Some(Policy::parse(&identity["policy"]).map_err(|error| anyhow!("policy: {error}"))?),
    })
}
