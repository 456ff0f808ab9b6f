//! A MongoDB server for one test: a replica set of one node.

use std::path::Path;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::Client;
use mongodb::options::ClientOptions;
use tempfile::TempDir;

use super::process::{Process, Start, is_open};
use super::{free_ports, program};

/// Longest wait for the node to be primary.
const PRIMARY: Duration = Duration::from_mins(1);
/// Delay between two checks.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a node that steps down cannot become primary again, in seconds.
const DOWN_SECONDS: i32 = 1;

/// A node with its data and its port.
pub struct OwnMongod {
    start: Start,
    port: u16,
    process: Option<Process>,
    // Dropped last: the process works in it.
    _folder: TempDir,
}

impl OwnMongod {
    /// A new, writable replica set `rs0` of one node. Panics when it does not become writable.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
        let [port] = free_ports();
        let mut mongod = Self { start: start(folder.path(), port), port, process: None, _folder: folder };
        mongod.open();
        let member = format!("127.0.0.1:{port}");
        let config = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": member }] };
        mongod
            .admin()
            .await
            .run_command(doc! { "replSetInitiate": config })
            .await
            .unwrap_or_else(|error| panic!("no replica set: {error}"));
        mongod.until_primary().await;
        mongod
    }

    /// `host:port`, for a proxy in front of it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The connection string for programs that connect to it directly.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?replicaSet=rs0", self.port)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().unwrap_or_else(|| panic!("mongod does not run")).kill();
    }

    /// Shuts it down normally.
    pub fn stop(&mut self) {
        self.process.take().unwrap_or_else(|| panic!("mongod does not run")).terminate();
    }

    /// Starts it again on the same data and port, and waits until it is writable.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "mongod runs already");
        self.open();
        self.until_primary().await;
    }

    /// Makes it a secondary, which ends every operation in progress, and waits until it is primary
    /// again.
    pub async fn step_down(&self) {
        let command =
            doc! { "replSetStepDown": DOWN_SECONDS, "secondaryCatchUpPeriodSecs": 0, "force": true };
        if let Err(error) = self.admin().await.run_command(command).await {
            // A node that steps down may close the connection before it answers.
            let is_gone = matches!(*error.kind, mongodb::error::ErrorKind::Io(_));
            assert!(is_gone, "mongod does not step down: {error}");
        }
        self.until_primary().await;
    }

    fn open(&mut self) {
        let port = self.port;
        let mut process = Process::start(&self.start);
        process.until("mongod's port", || is_open(port));
        self.process = Some(process);
    }

    async fn until_primary(&self) {
        let admin = self.admin().await;
        let asked_at = Instant::now();
        loop {
            let hello = admin.run_command(doc! { "hello": 1 }).await;
            let is_primary = |hello: &Document| hello.get_bool("isWritablePrimary").unwrap_or(false);
            if hello.as_ref().is_ok_and(is_primary) {
                return;
            }
            assert!(asked_at.elapsed() < PRIMARY, "mongod is not primary: {hello:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn admin(&self) -> mongodb::Database {
        let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port);
        let mut options =
            ClientOptions::parse(&uri).await.unwrap_or_else(|error| panic!("{uri} is no URI: {error}"));
        options.server_selection_timeout = Some(PRIMARY);
        let client = Client::with_options(options).unwrap_or_else(|error| panic!("no client: {error}"));
        client.database("admin")
    }
}

fn start(folder: &Path, port: u16) -> Start {
    let data = folder.join("data");
    std::fs::create_dir(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
    let mut arguments = vec!["--dbpath".into(), data.into_os_string()];
    let port = port.to_string();
    let options = [
        ["--port", &port],
        ["--bind_ip", "127.0.0.1"],
        ["--replSet", "rs0"],
        // The default would be half of the machine's memory.
        ["--wiredTigerCacheSizeGB", "0.25"],
        // No other node could take over, so there is nothing to wait for.
        ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"],
        ["--setParameter", "diagnosticDataCollectionEnabled=false"],
        // Fail points: errors and delays that a test injects.
        ["--setParameter", "enableTestCommands=1"],
    ];
    arguments.extend(options.iter().flatten().map(Into::into));
    arguments.push("--nounixsocket".into());
    let log = folder.join("mongod.log");
    Start { program: program("TEST_MONGOD_PROGRAM"), arguments, environment: Vec::new(), log }
}
