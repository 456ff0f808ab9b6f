//! An S3 server for one test.

use std::path::Path;

use tempfile::TempDir;

use super::process::{Process, Start, is_open};
use super::{SmallDisk, free_ports, program};

/// Not secret: the server listens on this machine only.
const ACCESS_KEY_ID: &str = "exports-test";
const SECRET_ACCESS_KEY: &str = "exports-test-secret";
const ACCESS_LOG: &str = "access.log";

/// The test kit's server with its files and its port.
pub struct OwnS3 {
    start: Start,
    port: u16,
    process: Option<Process>,
    // Dropped after the process, which works in them.
    _disk: Option<SmallDisk>,
    folder: TempDir,
}

impl OwnS3 {
    /// A server on a folder. Panics when it does not start.
    pub fn start() -> Self {
        Self::on(None, &[])
    }

    /// A server that refuses to complete uploads whose parts differ in size.
    pub fn demanding_equal_parts() -> Self {
        Self::on(None, &["--equal-parts"])
    }

    /// A server on a disk of this many bytes.
    pub fn on_disk_of(bytes: u64) -> Self {
        Self::on(Some(SmallDisk::of(bytes)), &[])
    }

    fn on(disk: Option<SmallDisk>, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
        let [port] = free_ports();
        let root = disk.as_ref().map_or_else(|| folder.path().join("data"), |disk| disk.path().join("data"));
        let mut start = start(folder.path(), &root, port);
        start.arguments.extend(flags.iter().map(Into::into));
        let mut s3 = Self { start, port, process: None, _disk: disk, folder };
        s3.start_again();
        s3
    }

    /// `host:port`, for a proxy in front of it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its endpoint.
    pub fn endpoint_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The one key, and its secret.
    pub fn credentials(&self) -> (&'static str, &'static str) {
        (ACCESS_KEY_ID, SECRET_ACCESS_KEY)
    }

    /// Every request so far that may have changed something: one line of JSON each, in the order of
    /// their answers, over all starts.
    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(ACCESS_LOG)).unwrap_or_default()
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().unwrap_or_else(|| panic!("the S3 server does not run")).kill();
    }

    /// Starts it again, on the same files and port.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the S3 server runs already");
        let port = self.port;
        let mut process = Process::start(&self.start);
        process.until("the S3 server's port", || is_open(port));
        self.process = Some(process);
    }
}

fn start(folder: &Path, root: &Path, port: u16) -> Start {
    let arguments = vec![
        "s3".into(),
        "--listen".into(),
        format!("127.0.0.1:{port}").into(),
        "--root".into(),
        root.into(),
        "--access-key".into(),
        ACCESS_KEY_ID.into(),
        "--secret-key".into(),
        SECRET_ACCESS_KEY.into(),
        "--access-log".into(),
        folder.join(ACCESS_LOG).into(),
    ];
    let log = folder.join("s3.log");
    Start { program: program("TEST_TESTKIT_PROGRAM"), arguments, environment: Vec::new(), log }
}
