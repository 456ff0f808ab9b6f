//! Makes a replica set of one node, which transactions, change streams and majority writes need.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::ErrorKind;
use mongodb::options::ClientOptions;

/// From an empty data directory to a writable primary takes about three seconds; slow disks get twenty times that.
const DEADLINE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(200);
const ALREADY_INITIALIZED: i32 = 23;

/// Initiate the replica set rs0 of one node, unless it exists, and wait until it is writable.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The node, started with `--replSet rs0`.
    #[arg(long)]
    uri: String,
}

/// Fails when the node is not writable after 60 s.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let options = ClientOptions::parse(&arguments.uri).await.context("--uri is no MongoDB URI")?;
    let member = options.hosts.first().context("--uri names no host")?.to_string();
    ready(&arguments.uri, &member).await
}

/// Initiates with `member` (host and port as the node itself can reach them) as the only node, and waits.
pub(crate) async fn ready(uri: &str, member: &str) -> anyhow::Result<()> {
    let mut options = ClientOptions::parse(uri).await?;
    options.direct_connection = Some(true);
    options.server_selection_timeout = Some(Duration::from_secs(2));
    let admin = Client::with_options(options)?.database("admin");

    let deadline = Instant::now() + DEADLINE;
    let config = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": member }] };
    let mut initiated = false;
    let mut last_state = String::from("no answer yet");
    while Instant::now() < deadline {
        if !initiated {
            match admin.run_command(doc! { "replSetInitiate": config.clone() }).await {
                Ok(_) => initiated = true,
                Err(error) if has_code(&error, ALREADY_INITIALIZED) => initiated = true,
                Err(error) => last_state = error.to_string(),
            }
        }
        if initiated {
            match admin.run_command(doc! { "hello": 1 }).await {
                Ok(hello) if is_writable(&hello) => return Ok(()),
                Ok(_) => "not yet primary".clone_into(&mut last_state),
                Err(error) => last_state = error.to_string(),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("the replica set is not writable after {} s: {last_state}", DEADLINE.as_secs())
}

fn is_writable(hello: &Document) -> bool {
    hello.get_bool("isWritablePrimary").unwrap_or(false)
}

fn has_code(error: &mongodb::error::Error, code: i32) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == code)
}
