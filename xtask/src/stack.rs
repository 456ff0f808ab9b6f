//! The local stack: services, API and worker, as processes that stay until `down`.

pub(crate) mod down;
mod members;
pub(crate) mod status;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::background::{self, Ensured};
use crate::endpoints::{BUCKET, Endpoints, Service};
use crate::identities::{self, Pairs, S3Key};
use crate::layout::{Instance, Layout};
use crate::ports::Port;
use crate::programs::{self, Programs, Purpose};
use crate::services::{self, Kind, docker, native};
use crate::settings::{SOURCED, Settings, StackPorts};
use crate::{cli, console, env_file, foreground, http, wait};

pub(crate) use members::Members;

/// Time limit of provisioning, which itself waits this long for the services.
const PROVISION_WAIT_SECONDS: u32 = 60;
/// Time limit of a command that prints a text.
const POLICY_LIMIT: Duration = Duration::from_secs(20);
/// From start to ready.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// A stack that runs.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    pub(crate) layout: Layout,
    pub(crate) ports: StackPorts,
    pub(crate) programs: Programs,
    /// Settings from the environment of this process.
    pub(crate) inherited: Vec<(String, String)>,
    /// Settings on top of these.
    pub(crate) environment: Vec<(String, String)>,
    /// Settings of provisioning, of the API and of the worker in addition to all these: each
    /// program with its own users uses them.
    pub(crate) own: Own,
    /// Variables that the programs must not inherit.
    pub(crate) hidden: Vec<String>,
}

/// Settings of single programs.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    provisioning: Pairs,
    pub(crate) api: Pairs,
    pub(crate) worker: Pairs,
}

impl Stack {
    /// One of the stack's programs, with the stack's settings.
    pub(crate) fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new(program);
        for name in &self.hidden {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The same stack with other programs.
    pub(crate) fn with_programs(&self, programs: Programs) -> Self {
        Self { programs, ..self.clone() }
    }

    /// The API's address.
    pub(crate) fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.api.number)
    }
}

/// `cargo xtask up`.
pub(crate) fn up_command(arguments: &cli::Up) -> anyhow::Result<()> {
    let layout = Layout::find()?;
    let settings = Settings::read(&layout)?;
    let wanted = Wanted { services_only: arguments.services_only, ..Wanted::default() };
    let mut started = Vec::new();
    let result = up(layout, &settings, &arguments.stack, &wanted, &mut started);
    if result.is_err() && !started.is_empty() {
        eprintln!("`cargo xtask down` ends what was started: {}", started.join(", "));
    }
    result.map(drop)
}

/// Which stack [`up`] makes.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Not the API and the worker.
    pub(crate) services_only: bool,
    /// The purpose of the build of the programs.
    pub(crate) purpose: Purpose,
    /// Settings on top.
    pub(crate) extra: Vec<(String, String)>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { services_only: false, purpose: Purpose::Stack, extra: Vec::new() }
    }
}

/// Starts every part that is not running. Adds each started part to `started`, even on failure.
pub(crate) fn up(
    layout: Layout,
    settings: &Settings,
    flags: &cli::Stack,
    wanted: &Wanted,
    started: &mut Vec<String>,
) -> anyhow::Result<Stack> {
    let services_only = wanted.services_only;
    let instance = layout.stack();
    let _lock = instance.lock()?;
    let ports = settings.ports(flags)?;
    let missing = Service::missing(settings);
    // With every service given, nothing is started and nothing need be installed.
    let kind = if missing.is_empty() {
        None
    } else {
        Some(services::kind_for_stack(flags.services, &instance, &missing)?)
    };
    check_ports(&instance, &ports, kind, &missing, services_only)?;
    let programs = programs::build(&layout, wanted.purpose)?;
    let endpoints = match kind {
        None => Endpoints::default(),
        Some(Kind::Docker) => docker::start(&layout, settings, &ports, &missing, started)?,
        Some(Kind::Native) => {
            let numbers = native::Ports {
                mongodb: ports.mongodb.number,
                rabbitmq: ports.rabbitmq.number,
                rabbitmq_management: ports.rabbitmq_management.number,
                s3: ports.s3.number,
            };
            let keys = s3_keys(settings, &programs)?;
            let terms = native::S3Terms { keys: Some(keys), in_background: false };
            native::start(&layout, &instance, numbers, &missing, &programs.testkit, terms, started)?
        }
    };
    let mut environment = endpoints.settings(settings);
    environment.extend_from_slice(&wanted.extra);
    let own = Own {
        provisioning: endpoints.identities.for_provisioning(),
        api: endpoints.identities.for_api(settings)?,
        worker: endpoints.identities.for_worker(settings)?,
    };
    let stack = Stack {
        layout,
        ports,
        programs,
        inherited: settings.inherited(),
        environment,
        own,
        hidden: endpoints.hidden(),
    };
    provision(&stack)?;
    if !services_only {
        start_members(&stack, started)?;
    }
    write_env_file(&stack, &instance)?;
    console::step("the stack is up");
    endpoints.print(settings)?;
    if !services_only {
        console::detail("API", format!("{} (health: {})", stack.api_url(), admin_url(ports.api_admin)));
        console::detail("worker", format!("health: {}", admin_url(ports.worker_admin)));
    }
    console::detail("logs", instance.dir.join("logs").display().to_string());
    console::detail("shell", format!("source {}", instance.dir.join("env").display()));
    Ok(stack)
}

/// The local S3 server's keys of the API and the worker, with the policies of a deployment.
fn s3_keys(settings: &Settings, programs: &Programs) -> anyhow::Result<[S3Key; 2]> {
    let policy = |service: &str| -> anyhow::Result<_> {
        let mut command = Command::new(&programs.cli);
        command.args(["provision", "--print-s3-policy", service, "--s3-bucket", BUCKET]);
        if let Some(prefix) = settings.get("S3_KEY_PREFIX") {
            command.args(["--s3-key-prefix", &prefix]);
        }
        let (status, policy) = foreground::capture(&mut command, POLICY_LIMIT)?;
        ensure!(status.success(), "no policy of the {service}'s S3 key ({status})");
        Ok(serde_json::from_str(&policy)?)
    };
    Ok(identities::s3_keys([policy("api")?, policy("worker")?]))
}

fn admin_url(port: Port) -> String {
    format!("http://127.0.0.1:{}", port.number)
}

fn check_ports(
    instance: &Instance,
    ports: &StackPorts,
    kind: Option<Kind>,
    missing: &[Service],
    services_only: bool,
) -> anyhow::Result<()> {
    let mut needed = Vec::new();
    // Ports of containers are checked elsewhere, where the running containers are known.
    if kind == Some(Kind::Native) {
        needed.extend(missing.iter().map(|service| match service {
            Service::Mongodb => (service.part(), ports.mongodb),
            Service::Rabbitmq => (service.part(), ports.rabbitmq),
            Service::S3 => (service.part(), ports.s3),
        }));
        // The record holds the first port only; a running broker has the other one too.
        let rabbitmq = Service::Rabbitmq;
        if missing.contains(&rabbitmq) && background::running(instance, rabbitmq.part()).is_none() {
            ports.rabbitmq_management.check_free()?;
        }
    }
    native::check_ports(instance, &needed)?;
    if services_only { Ok(()) } else { Members::check_ports(instance, ports) }
}

fn provision(stack: &Stack) -> anyhow::Result<()> {
    console::step("provisioning queues, indexes, the bucket and users");
    let mut command = stack.command(&stack.programs.cli);
    command.envs(stack.own.provisioning.iter().map(|(name, value)| (name, value)));
    command.args(["provision", "--wait-seconds", &PROVISION_WAIT_SECONDS.to_string()]);
    let limit = Duration::from_secs(u64::from(PROVISION_WAIT_SECONDS) * 2);
    foreground::run_logged(&mut command, limit, &stack.layout.stack().log("provision"), "exports provision")
}

/// Starts the API and the worker, or restarts them if their programs or settings have changed, and
/// waits until they are ready. Returns whether one was not running before. Adds each that was started,
/// but not restarted, to `started`.
pub(crate) fn start_members(stack: &Stack, started: &mut Vec<String>) -> anyhow::Result<bool> {
    let instance = stack.layout.stack();
    let members = Members::of(stack);
    let mut is_new = false;
    for program in [&members.api, &members.worker] {
        let part = program.part;
        match background::ensure(&instance, program)? {
            Ensured::Runs => {}
            Ensured::Started => {
                is_new = true;
                console::step(format!("starting {part}"));
                started.push(part.to_owned());
            }
            Ensured::Restarted => {
                is_new = true;
                console::step(format!("restarting {part}: its program or its settings have changed"));
            }
        }
    }
    for (program, admin) in
        [(&members.api, stack.ports.api_admin), (&members.worker, stack.ports.worker_admin)]
    {
        let part = program.part;
        let log = instance.log(part);
        let in_time = || format!("{part} did not become ready; {};", console::tail(&log));
        wait::until(READY_LIMIT, in_time, || {
            background::check_alive(&instance, part)?;
            Ok(http::is_ready(admin.number).then_some(()))
        })?;
    }
    Ok(is_new)
}

/// Writes the settings as a file that a shell can source, for programs started by hand. It contains
/// credentials, so only its owner can read it.
fn write_env_file(stack: &Stack, instance: &Instance) -> anyhow::Result<()> {
    let names: Vec<&str> = stack.environment.iter().map(|(name, _)| name.as_str()).collect();
    let mut text =
        String::from("# Settings of the stack that `cargo xtask up` started, for a POSIX shell.\n");
    text += &env_file::export_line(SOURCED, &names.join(" "));
    for (name, value) in &stack.environment {
        text += &env_file::export_line(name, value);
    }
    let path = instance.dir.join("env");
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).with_context(|| path.display().to_string())
}
