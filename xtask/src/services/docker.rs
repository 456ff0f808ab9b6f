//! Services from docker-compose.yml, in a Compose project of this checkout's stack only.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::endpoints::{Endpoints, S3, Service};
use crate::layout::{Instance, Layout};
use crate::settings::{Settings, StackPorts};
use crate::uri::percent_encoded;
use crate::{console, foreground, wait};

/// How long the engine may take to answer a query.
const QUESTION_LIMIT: Duration = Duration::from_secs(20);
/// Time for pulling the images, a gigabyte, on a slow line.
const PULL_LIMIT: Duration = Duration::from_mins(30);
/// From a started container to a healthy service; the first start creates MongoDB's files.
const HEALTH_LIMIT: Duration = Duration::from_mins(3);
/// For stopping and removing the containers.
const DOWN_LIMIT: Duration = Duration::from_mins(2);

/// Whether a Docker engine answers.
pub(crate) fn has_engine() -> bool {
    foreground::on_path("docker")
        && succeeds(Command::new("docker").args(["info", "--format", "{{.ServerVersion}}"]))
}

/// Whether Compose is installed, as a plugin or as a program.
pub(crate) fn has_compose() -> bool {
    compose_program().is_some()
}

fn succeeds(command: &mut Command) -> bool {
    let command = command.stderr(Stdio::null());
    foreground::capture(command, QUESTION_LIMIT)
        .is_ok_and(|(status, output)| status.success() && !output.trim().is_empty())
}

/// `docker compose` or `docker-compose`, whichever is installed.
pub(crate) fn compose_program() -> Option<Command> {
    if succeeds(Command::new("docker").args(["compose", "version"])) {
        let mut command = Command::new("docker");
        command.arg("compose");
        return Some(command);
    }
    foreground::on_path("docker-compose").then(|| Command::new("docker-compose"))
}

/// Compose for this stack's project.
///
/// The project's name comes from the checkout's path: `docker compose up` by hand, or another
/// checkout, has other containers and other volumes, so `down` never touches those.
fn compose(layout: &Layout) -> anyhow::Result<Command> {
    let mut command = compose_program()
        .context("Compose is not installed (neither `docker compose` nor `docker-compose`)")?;
    let mut hasher = DefaultHasher::new();
    layout.root.hash(&mut hasher);
    let settings = if layout.root.join(".env").exists() { ".env" } else { ".env.example" };
    // Compose reads this file for all services, although only those without a given address are
    // started here.
    command.env("SETTINGS_FILE", settings).current_dir(&layout.root).args([
        "--env-file",
        settings,
        "--file",
        "docker-compose.yml",
        "--project-name",
    ]);
    command.arg(format!("exports-stack-{:08x}", hasher.finish() >> 32));
    Ok(command)
}

/// The services whose containers this stack started, from its record.
pub(crate) fn started_services(instance: &Instance) -> Vec<String> {
    let record = fs::read(instance.record("compose"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let services = record
        .as_ref()
        .and_then(|record| record["services"].as_array())
        .map(Vec::as_slice)
        .unwrap_or_default();
    services.iter().filter_map(|service| service.as_str().map(str::to_owned)).collect()
}

/// Starts the missing services, waits until they are healthy and returns their addresses. Adds the
/// services that were not running to `started`.
pub(crate) fn start(
    layout: &Layout,
    settings: &Settings,
    ports: &StackPorts,
    missing: &[Service],
    started: &mut Vec<String>,
) -> anyhow::Result<Endpoints> {
    let instance = layout.stack();
    let before = running_services(layout)?;
    for service in missing.iter().filter(|service| !before.iter().any(|part| part == service.part())) {
        match service {
            Service::Mongodb => ports.mongodb.check_free()?,
            Service::Rabbitmq => {
                ports.rabbitmq.check_free()?;
                ports.rabbitmq_management.check_free()?;
            }
            Service::S3 => ports.s3.check_free()?,
        }
        started.push(service.part().to_owned());
    }
    let names: Vec<&str> = missing.iter().map(|service| service.part()).collect();
    // Recorded first, so that `down` also finds the containers of a failed start.
    record(&instance, &names)?;
    let stopped: Vec<&str> =
        names.iter().copied().filter(|name| !before.iter().any(|part| part == name)).collect();
    if !stopped.is_empty() {
        console::step(format!(
            "starting containers: {} (images are pulled the first time)",
            stopped.join(", ")
        ));
    }
    let mut command = compose(layout)?;
    for port in [ports.mongodb, ports.rabbitmq, ports.rabbitmq_management, ports.s3, ports.api] {
        command.env(port.variable, port.number.to_string());
    }
    command.args(["up", "--detach"]).args(&names);
    foreground::run_logged(&mut command, PULL_LIMIT, &instance.log("compose"), "docker compose up")?;
    for name in &names {
        wait_until_healthy(layout, name)?;
    }
    endpoints(settings, ports, missing)
}

/// Stops and removes the containers of these services; of all, with the network, if none is named.
/// Volumes are kept unless `purge`.
pub(crate) fn stop(layout: &Layout, services: &[String], purge: bool) -> anyhow::Result<()> {
    let mut command = compose(layout)?;
    if services.is_empty() {
        command.arg("down");
        if purge {
            command.arg("--volumes");
        }
    } else {
        command.args(["rm", "--stop", "--force"]).args(services);
    }
    let instance = layout.stack();
    foreground::run_logged(&mut command, DOWN_LIMIT, &instance.log("compose"), "ending the containers")?;
    let left: Vec<String> = match services {
        [] => Vec::new(),
        ended => started_services(&instance).into_iter().filter(|service| !ended.contains(service)).collect(),
    };
    if left.is_empty() {
        let path = instance.record("compose");
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| path.display().to_string())
            }
            _ => Ok(()),
        };
    }
    record(&instance, &left)
}

/// State of a service's container: `healthy`, `starting`, `unhealthy`, another state of a
/// container, or none.
pub(crate) fn state(layout: &Layout, service: &str) -> anyhow::Result<Option<String>> {
    let (_, id) = foreground::capture(
        compose(layout)?.args(["ps", "--quiet", service]).stderr(Stdio::null()),
        QUESTION_LIMIT,
    )?;
    let Some(id) = id.lines().next() else { return Ok(None) };
    let format =
        "{{if eq .State.Status \"running\"}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}";
    let mut inspect = Command::new("docker");
    inspect.args(["inspect", "--format", format, id]).stderr(Stdio::null());
    let (_, state) = foreground::capture(&mut inspect, QUESTION_LIMIT)?;
    Ok(Some(state.trim().to_owned()).filter(|state| !state.is_empty()))
}

fn running_services(layout: &Layout) -> anyhow::Result<Vec<String>> {
    let mut command = compose(layout)?;
    command.args(["ps", "--services", "--filter", "status=running"]).stderr(Stdio::null());
    let (_, output) = foreground::capture(&mut command, QUESTION_LIMIT)?;
    Ok(output.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

fn record(instance: &Instance, services: &[impl AsRef<str>]) -> anyhow::Result<()> {
    let path = instance.record("compose");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let names: Vec<&str> = services.iter().map(AsRef::as_ref).collect();
    fs::write(&path, json!({ "services": names }).to_string()).with_context(|| path.display().to_string())
}

fn wait_until_healthy(layout: &Layout, service: &str) -> anyhow::Result<()> {
    let mut last = String::from("absent");
    let healthy = wait::until(
        HEALTH_LIMIT,
        || format!("container {service} did not become healthy"),
        || {
            last = state(layout, service)?.unwrap_or_else(|| "absent".to_owned());
            Ok((last == "healthy").then_some(()))
        },
    );
    if let Err(error) = healthy {
        let log = layout.stack().log(service);
        let _ = foreground::run_logged(
            compose(layout)?.args(["logs", "--tail=200", service]),
            QUESTION_LIMIT,
            &log,
            "logs",
        );
        bail!("{error:#} (its state: {last}); {}", console::tail(&log));
    }
    Ok(())
}

/// Addresses as this machine sees the containers, with the credentials that Compose gave them.
fn endpoints(settings: &Settings, ports: &StackPorts, missing: &[Service]) -> anyhow::Result<Endpoints> {
    let mut endpoints = Endpoints::default();
    let user = |name: &str, password: &str| -> anyhow::Result<String> {
        let (name, password) = (settings.for_compose(name)?, settings.for_compose(password)?);
        Ok(format!("{}:{}", percent_encoded(&name), percent_encoded(&password)))
    };
    for service in missing {
        match service {
            Service::Mongodb => {
                let (user, port) =
                    (user("MONGODB_ROOT_USERNAME", "MONGODB_ROOT_PASSWORD")?, ports.mongodb.number);
                // Direct: the replica set's member is known by its name in the containers' network.
                let rest = format!("127.0.0.1:{port}/?authSource=admin&directConnection=true");
                endpoints.mongodb_uri = Some(format!("mongodb://{user}@{rest}"));
                let [api, worker, source] = [
                    settings.for_compose("MONGODB_API_PASSWORD")?,
                    settings.for_compose("MONGODB_WORKER_PASSWORD")?,
                    settings.for_compose("MONGODB_SOURCE_PASSWORD")?,
                ];
                endpoints.identities.add_mongodb([&api, &worker, &source], &rest);
            }
            Service::Rabbitmq => {
                let (user, port) = (user("RABBITMQ_USERNAME", "RABBITMQ_PASSWORD")?, ports.rabbitmq.number);
                let address = format!("127.0.0.1:{port}");
                endpoints.rabbitmq_url = Some(format!("amqp://{user}@{address}/%2f"));
                let [api, worker] = [
                    settings.for_compose("RABBITMQ_API_PASSWORD")?,
                    settings.for_compose("RABBITMQ_WORKER_PASSWORD")?,
                ];
                endpoints.identities.add_rabbitmq([&api, &worker], &address);
                let management = format!("http://127.0.0.1:{}", ports.rabbitmq_management.number);
                endpoints.identities.set_management(&management);
                endpoints.rabbitmq_management_url = Some(management);
            }
            Service::S3 => {
                endpoints.s3 = Some(S3 {
                    endpoint: format!("http://127.0.0.1:{}", ports.s3.number),
                    access_key_id: settings.for_compose("S3_ACCESS_KEY_ID")?,
                    secret_access_key: settings.for_compose("S3_SECRET_ACCESS_KEY")?,
                });
            }
        }
    }
    Ok(endpoints)
}
