//! The services as throw-away containers, for machines with nothing but a Docker engine.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use export_testkit::isolation::s3_client;
use serde_json::json;
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::replica_set;

/// A broker on a slow machine takes about half a minute.
const DEADLINE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(500);

/// The first bytes of an AMQP 0-9-1 client.
const AMQP_GREETING: &[u8; 8] = b"AMQP\0\0\x09\x01";
/// The first byte of the broker's answer: a method frame.
const AMQP_METHOD_FRAME: u8 = 1;

/// A replica set authenticates users only with a key file that only its owner can read; then the
/// image's own entrypoint runs.
const MONGODB_START: &str = "key=/data/configdb/replica-set.key
head -c 756 /dev/urandom | base64 -w 0 >$key
chown mongodb:mongodb $key
chmod 400 $key
exec docker-entrypoint.sh mongod --replSet rs0 --keyFile $key --bind_ip_all";

/// Start the database, the broker and the object store in containers, print their addresses as one
/// line of JSON, and remove them when stdin closes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Fails when a container cannot start or does not answer in time; containers that did start are
/// removed.
pub(crate) async fn run(Arguments {}: Arguments) -> anyhow::Result<()> {
    let secret = Uuid::new_v4().simple().to_string();
    let mongodb = GenericImage::new("mongo", "8.0")
        .with_exposed_port(27017.tcp())
        .with_entrypoint("bash")
        .with_cmd(["-ec", MONGODB_START])
        .with_env_var("MONGO_INITDB_ROOT_USERNAME", "testkit")
        .with_env_var("MONGO_INITDB_ROOT_PASSWORD", &secret)
        .start();
    let rabbitmq = GenericImage::new("rabbitmq", "4.3.5-management")
        .with_exposed_port(5672.tcp())
        .with_exposed_port(15672.tcp())
        // By default the image's own user can connect only from the same machine.
        .with_env_var("RABBITMQ_DEFAULT_USER", "testkit")
        .with_env_var("RABBITMQ_DEFAULT_PASS", &secret)
        .start();
    let s3 = GenericImage::new("rustfs/rustfs", "1.0.0")
        .with_exposed_port(9000.tcp())
        .with_env_var("RUSTFS_ACCESS_KEY", "testkit")
        .with_env_var("RUSTFS_SECRET_KEY", &secret)
        .start();
    // A container removes itself when its handle is dropped, so an error below leaves none behind.
    let mongodb = mongodb.await.context("the MongoDB container does not start")?;
    let rabbitmq = rabbitmq.await.context("the RabbitMQ container does not start")?;
    let s3 = s3.await.context("the S3 container does not start")?;

    let mongodb_address = address(&mongodb, 27017).await?;
    let mongodb_uri =
        format!("mongodb://testkit:{secret}@{mongodb_address}/?directConnection=true&authSource=admin");
    let rabbitmq_address = address(&rabbitmq, 5672).await?;
    let s3_url = format!("http://{}", address(&s3, 9000).await?);
    // Inside its container the node has this name, whatever its port outside is.
    replica_set::ready(&mongodb_uri, "127.0.0.1:27017").await?;
    wait_for_amqp(&rabbitmq_address).await?;
    wait_for_s3(&s3_url, "testkit", &secret).await?;

    let line = json!({
        "TEST_MONGODB_URI": mongodb_uri,
        "TEST_RABBITMQ_URL": format!("amqp://testkit:{secret}@{rabbitmq_address}/%2f"),
        "TEST_RABBITMQ_MANAGEMENT_URL": format!("http://{}", address(&rabbitmq, 15672).await?),
        "TEST_S3_ENDPOINT_URL": s3_url,
        "TEST_S3_ACCESS_KEY_ID": "testkit",
        "TEST_S3_SECRET_ACCESS_KEY": secret,
    });
    writeln!(std::io::stdout(), "{line}")?;

    let stdin_end =
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    tokio::select! {
        outcome = stdin_end => drop(outcome??),
        outcome = super::asked_to_stop() => outcome?,
    }
    for container in [mongodb, rabbitmq, s3] {
        container.rm().await.context("a container cannot be removed")?;
    }
    // The read of stdin may still block a thread, and would keep the runtime from ending.
    std::process::exit(0)
}

/// Host and port of a container's port, as seen from this machine.
async fn address(container: &ContainerAsync<GenericImage>, port: u16) -> anyhow::Result<String> {
    Ok(format!("{}:{}", container.get_host().await?, container.get_host_port_ipv4(port.tcp()).await?))
}

async fn wait_for_amqp(address: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if matches!(tokio::time::timeout(PAUSE, first_byte(address)).await, Ok(Ok(AMQP_METHOD_FRAME))) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("RabbitMQ does not answer at {address} after {} s", DEADLINE.as_secs())
}

async fn first_byte(address: &str) -> std::io::Result<u8> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(AMQP_GREETING).await?;
    socket.read_u8().await
}

async fn wait_for_s3(url: &str, access_key: &str, secret_key: &str) -> anyhow::Result<()> {
    let client = s3_client(url, access_key, secret_key);
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if client.list_buckets().send().await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("S3 does not answer at {url} after {} s", DEADLINE.as_secs())
}
