//! RabbitMQ, isolated from other nodes on this machine: its own name server, cookie, ports,
//! configuration and data.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::background::{Program, check_alive, running};
use crate::layout::Instance;
use crate::services::packages;
use crate::{ports, wait};

const PART: &str = "rabbitmq";
/// Erlang's name server. Started here, because the broker would leave one running for ever.
pub(crate) const NAME_SERVER: &str = "rabbitmq-epmd";
/// From start to an answer; a first start on a busy machine makes the files and elects a leader for
/// every quorum queue.
const START_LIMIT: Duration = Duration::from_mins(2);
/// The first bytes of a client, and the beginning of the answer: a method frame (1) on channel 0
/// ...
const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";
const FRAME_START: [u8; 3] = [1, 0, 0];
/// ... and, after the four bytes of the frame's size, method `connection.start`.
const CONNECTION_START: [u8; 4] = [0, 10, 0, 10];

/// One node with its files and ports.
#[derive(Debug)]
pub(crate) struct Node {
    server: PathBuf,
    data: PathBuf,
    port: u16,
    management_port: u16,
    name_server_port: u16,
    distribution_port: u16,
}

impl Node {
    /// The instance's node. Its two internal ports are chosen freely when it is not running.
    pub(crate) fn new(
        instance: &Instance,
        server: &Path,
        port: u16,
        management_port: u16,
    ) -> anyhow::Result<Self> {
        let data = instance.data(PART);
        fs::create_dir_all(data.join("home")).with_context(|| data.display().to_string())?;
        let path = data.join("inner-ports");
        let known = running(instance, PART).and_then(|_| read_ports(&path));
        let [name_server_port, distribution_port] = match known {
            Some(ports) => ports,
            None => ports::free()?,
        };
        fs::write(&path, format!("{name_server_port} {distribution_port}"))?;
        Ok(Self {
            server: server.to_path_buf(),
            data,
            port,
            management_port,
            name_server_port,
            distribution_port,
        })
    }

    /// How to start the name server.
    pub(crate) fn name_server(&self) -> Program {
        Program {
            part: NAME_SERVER,
            executable: packages::NAME_SERVER.into(),
            arguments: Vec::new(),
            environment: self.name_server_settings(),
            hidden: Vec::new(),
            port: self.name_server_port,
        }
    }

    fn name_server_settings(&self) -> Vec<(String, String)> {
        let settings = [
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("ERL_EPMD_PORT", self.name_server_port.to_string()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// How to start the broker.
    pub(crate) fn broker(&self) -> anyhow::Result<Program> {
        let configuration = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\n\
             management.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {}\n\
             # Small: this node shares a developer's machine.\n\
             vm_memory_high_watermark.absolute = 512MB\n\
             disk_free_limit.absolute = 100MB\n",
            self.port, self.management_port
        );
        // Named after the ports, so that a node with other ports is recognised and restarted.
        let configuration_file = format!("rabbitmq-{}-{}.conf", self.port, self.management_port);
        fs::write(self.data.join(&configuration_file), configuration)?;
        // Users can be made over HTTP only.
        fs::write(self.data.join("enabled_plugins"), "[rabbitmq_management].\n")?;
        // Read instead of the machine-wide file.
        fs::write(self.data.join("rabbitmq-env.conf"), "")?;
        let path = |name: &str| self.data.join(name).to_string_lossy().into_owned();
        let mut environment = self.name_server_settings();
        let own = [
            // It contains the cookie with which nodes authenticate each other.
            ("HOME", path("home")),
            ("RABBITMQ_NODENAME", "exports@localhost".to_owned()),
            ("RABBITMQ_DIST_PORT", self.distribution_port.to_string()),
            ("RABBITMQ_CONF_ENV_FILE", path("rabbitmq-env.conf")),
            ("RABBITMQ_CONFIG_FILE", path(&configuration_file)),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
            ("RABBITMQ_MNESIA_BASE", path("mnesia")),
            ("RABBITMQ_LOG_BASE", path("log")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("RABBITMQ_GENERATED_CONFIG_DIR", path("generated")),
            // Two schedulers are enough, and only the client ports are needed from outside.
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
            ),
        ];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        Ok(Program {
            part: PART,
            executable: self.server.clone(),
            arguments: Vec::new(),
            environment,
            // Variables for another node must not reach this one.
            hidden: names.filter(|name| name.starts_with("RABBITMQ_") || name.starts_with("ERL_")).collect(),
            port: self.port,
        })
    }
}

fn read_ports(path: &Path) -> Option<[u16; 2]> {
    let text = fs::read_to_string(path).ok()?;
    let (name_server, distribution) = text.trim().split_once(' ')?;
    Some([name_server.parse().ok()?, distribution.parse().ok()?])
}

/// Waits until the broker answers AMQP and its management port is open. An open AMQP port alone
/// does not mean that it has started.
pub(crate) fn wait_until_ready(instance: &Instance, port: u16, management_port: u16) -> anyhow::Result<()> {
    wait::until(
        START_LIMIT,
        || "RabbitMQ did not answer".to_owned(),
        || {
            check_alive(instance, PART)?;
            let is_ready = speaks_amqp(port) && ports::connect(management_port).is_some();
            Ok(is_ready.then_some(()))
        },
    )
}

fn speaks_amqp(port: u16) -> bool {
    let Some(mut stream) = ports::connect(port) else { return false };
    let mut answer = [0; 11];
    let is_answered = stream.write_all(&PROTOCOL_HEADER).is_ok() && stream.read_exact(&mut answer).is_ok();
    is_answered && answer[..3] == FRAME_START && answer[7..] == CONNECTION_START
}
