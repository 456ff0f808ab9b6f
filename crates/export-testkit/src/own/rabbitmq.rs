//! A RabbitMQ node for one test, separate from every other node of this machine.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::process::{Process, Start, is_open};
use super::{free_ports, program};

/// The first bytes of a client.
const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
/// The beginning of the answer: a method frame on channel 0; after the four bytes of its size,
/// method `connection.start`.
const FRAME_START: [u8; 3] = [1, 0, 0];
const CONNECTION_START: [u8; 4] = [0, 10, 0, 10];
/// How long a node without AMQP may take to report its state.
const ANSWER: Duration = Duration::from_millis(500);

/// A node with its data, its ports and its name server.
pub struct OwnRabbitmq {
    start: Start,
    port: u16,
    process: Option<Process>,
    // Dropped after the node, which is registered there, and before the folder.
    _name_server: Process,
    folder: TempDir,
}

impl OwnRabbitmq {
    /// A node with these further lines of configuration, for instance `consumer_timeout = 5000`.
    /// Panics when it does not start.
    pub fn start(configuration: &[&str]) -> Self {
        Self::start_with(configuration, &[])
    }

    /// Like `start`, with broker parameters that have no setting in the configuration file, for
    /// instance `("channel_tick_interval", "1000")`.
    pub fn start_with(configuration: &[&str], parameters: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
        let [port, name_server_port, distribution_port] = free_ports();
        let home = folder.path().join("home");
        fs::create_dir(&home).unwrap_or_else(|error| panic!("{}: {error}", home.display()));
        let name_server = [
            // It contains the cookie with which nodes authenticate each other.
            ("HOME".to_owned(), home.to_string_lossy().into_owned()),
            ("ERL_EPMD_ADDRESS".to_owned(), "127.0.0.1".to_owned()),
            ("ERL_EPMD_PORT".to_owned(), name_server_port.to_string()),
        ];
        let mut name_server_process = Process::start(&Start {
            program: program("TEST_EPMD_PROGRAM"),
            arguments: Vec::new(),
            environment: name_server.to_vec(),
            log: folder.path().join("epmd.log"),
        });
        name_server_process.until("epmd's port", || is_open(name_server_port));
        let mut environment = settings(folder.path(), distribution_port);
        write_configuration(folder.path(), port, configuration, parameters);
        environment.extend(name_server);
        let start = Start {
            program: program("TEST_RABBITMQ_SERVER_PROGRAM"),
            arguments: Vec::new(),
            environment,
            log: folder.path().join("rabbitmq.log"),
        };
        let mut rabbitmq = Self { start, port, process: None, _name_server: name_server_process, folder };
        rabbitmq.start_again();
        rabbitmq
    }

    /// `host:port`, for a proxy in front of it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// For programs that may connect to it directly; this user may do everything.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Its folder. Every process of the node has the path in its environment.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().unwrap_or_else(|| panic!("RabbitMQ does not run")).kill();
    }

    /// Shuts it down normally.
    pub fn stop(&mut self) {
        self.process.take().unwrap_or_else(|| panic!("RabbitMQ does not run")).terminate();
    }

    /// Starts it again on the same data and ports, and waits until it speaks AMQP.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "RabbitMQ runs already");
        let port = self.port;
        let mut process = Process::start(&self.start);
        process.until("RabbitMQ's answer", || speaks_amqp(port));
        self.process = Some(process);
    }

    /// Runs `rabbitmqctl`, for instance `["set_vm_memory_high_watermark", "0"]`. Panics when it
    /// fails.
    pub fn control(&self, arguments: &[&str]) {
        // The package installs it beside the server.
        let program = self.start.program.with_file_name("rabbitmqctl");
        let output = Command::new(&program)
            .args(arguments)
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.start.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output();
        let output =
            output.unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {output:?}");
    }

    /// Stops it (SIGSTOP), with all its connections open.
    pub fn freeze(&self) {
        self.process.as_ref().unwrap_or_else(|| panic!("RabbitMQ does not run")).freeze();
    }

    /// Resumes it (SIGCONT).
    pub fn thaw(&self) {
        self.process.as_ref().unwrap_or_else(|| panic!("RabbitMQ does not run")).thaw();
    }
}

/// Writes the node's configuration.
fn write_configuration(folder: &Path, port: u16, configuration: &[&str], parameters: &[(&str, &str)]) {
    let write = |name: &str, content: &str| {
        fs::write(folder.join(name), content).unwrap_or_else(|error| panic!("{name}: {error}"));
    };
    let own = configuration.join("\n");
    write(
        "rabbitmq.conf",
        &format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nvm_memory_high_watermark.absolute = 256MB\n\
             disk_free_limit.absolute = 50MB\n{own}\n"
        ),
    );
    let parameters: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{{{name}, {value}}}")).collect();
    write("advanced.config", &format!("[{{rabbit, [{}]}}].\n", parameters.join(", ")));
    write("enabled_plugins", "[].\n");
    // Read instead of the machine-wide file.
    write("rabbitmq-env.conf", "");
}

/// The variables that make a node use only its own folder and ports.
fn settings(folder: &Path, distribution_port: u16) -> Vec<(String, String)> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let settings = [
        ("RABBITMQ_NODENAME", "exports-test@localhost".to_owned()),
        ("RABBITMQ_DIST_PORT", distribution_port.to_string()),
        ("RABBITMQ_CONF_ENV_FILE", path("rabbitmq-env.conf")),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", path("mnesia")),
        ("RABBITMQ_LOG_BASE", path("log")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_GENERATED_CONFIG_DIR", path("generated")),
        // Otherwise a node that does not start would write its dump to the working folder.
        ("ERL_CRASH_DUMP", path("erl_crash.dump")),
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
        ),
    ];
    settings.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

fn speaks_amqp(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), ANSWER) else {
        return false;
    };
    let is_limited =
        stream.set_read_timeout(Some(ANSWER)).is_ok() && stream.set_write_timeout(Some(ANSWER)).is_ok();
    let mut answer = [0; 11];
    let is_answered =
        is_limited && stream.write_all(&PROTOCOL_HEADER).is_ok() && stream.read_exact(&mut answer).is_ok();
    is_answered && answer[..3] == FRAME_START && answer[7..] == CONNECTION_START
}
