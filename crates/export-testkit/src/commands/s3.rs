//! An S3 server for one machine: objects are files below a directory.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

/// How long requests under way may take after the stop signal.
const GRACE: Duration = Duration::from_secs(5);

/// Serve S3 from a directory until SIGTERM or ctrl-c.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Address to listen on; port 0 picks a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Directory for buckets and objects; made when missing.
    #[arg(long)]
    root: PathBuf,
    /// The one access key.
    #[arg(long, env = "TEST_S3_ACCESS_KEY_ID")]
    access_key: String,
    /// Its secret.
    #[arg(long, env = "TEST_S3_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_key: String,
}

/// Serves until asked to stop. Fails when the address is taken or the directory cannot be used.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let root = &arguments.root;
    std::fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
    let files = FileSystem::new(root).map_err(|error| anyhow!("cannot use {}: {error:?}", root.display()))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(arguments.access_key, arguments.secret_key));
    let service = builder.build();

    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;

    let server = Builder::new(TokioExecutor::new());
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(super::asked_to_stop());
    loop {
        let socket = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    writeln!(std::io::stderr(), "a connection was lost before it began: {error}")?;
                    continue;
                }
            },
            outcome = stop.as_mut() => {
                outcome?;
                break;
            }
        };
        // Small answers must not wait for acknowledgements of earlier ones.
        socket.set_nodelay(true)?;
        let connection = server.serve_connection(TokioIo::new(socket), service.clone()).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // A client that goes away in mid-request is its own business.
            let _ = connection.await;
        });
    }
    // Whoever is still talking after the grace period is cut off.
    let _ = tokio::time::timeout(GRACE, connections.shutdown()).await;
    Ok(())
}
