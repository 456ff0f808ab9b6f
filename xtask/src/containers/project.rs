//! The Compose project of the trials.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::http::{self, Poller};
use crate::layout::Layout;
use crate::services::docker;
use crate::{foreground, ports, wait};

const NAME: &str = "exports-trials";
const BUILD_LIMIT: Duration = Duration::from_hours(1);
/// For a first `up`, which includes pulling the images.
pub(super) const UP_LIMIT: Duration = Duration::from_mins(10);
/// For a command in a container.
pub(super) const RUN_LIMIT: Duration = Duration::from_mins(3);
/// For a container to become healthy or an export to end.
pub(super) const SOON: Duration = Duration::from_mins(2);
/// Arguments with which Compose takes the administrators' passwords from files.
pub(super) const FROM_FILES: [&str; 2] = ["--file", "docker-compose.files.yml"];
const QUESTION_LIMIT: Duration = Duration::from_secs(30);
/// Bytes per second that the worker reads: an export of the demo's fleet takes about ten seconds,
/// long enough to break something in the middle.
const READ_RATE: &str = "3000000";

/// The project: its settings file and its ports.
pub(super) struct Project {
    root: PathBuf,
    folder: PathBuf,
    name: &'static str,
    settings: BTreeMap<String, String>,
    restart_engine: Option<String>,
}

/// The end of a command.
pub(super) struct Ended {
    pub(super) is_success: bool,
    pub(super) output: String,
}

impl Project {
    /// Writes the settings file, with free ports; removes what an earlier run has left.
    pub(super) fn create(layout: &Layout, restart_engine: Option<String>) -> anyhow::Result<Self> {
        ensure!(docker::has_engine() && docker::has_compose(), "needs a Docker engine and Compose");
        let folder = layout.target.join("containers");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let names =
            ["PORT", "ADMIN_PORT", "MONGODB_PORT", "RABBITMQ_PORT", "RABBITMQ_MANAGEMENT_PORT", "S3_PORT"];
        let ports = ports::free::<6>()?.map(|port| port.to_string());
        let mut settings: BTreeMap<String, String> =
            names.into_iter().map(str::to_owned).zip(ports).collect();
        settings.insert("SOURCE_MAX_BYTES_PER_SECOND".to_owned(), READ_RATE.to_owned());
        let project = Self { root: layout.root.clone(), folder, name: NAME, settings, restart_engine };
        project.set(&[])?;
        project.remove()?;
        Ok(project)
    }

    /// Writes the settings file: `.env.example`, with the project's settings and these changes.
    /// `None` removes a setting.
    pub(super) fn set(&self, changes: &[(&str, Option<&str>)]) -> anyhow::Result<()> {
        let example = self.root.join(".env.example");
        let example = fs::read_to_string(&example).with_context(|| example.display().to_string())?;
        let mut values: BTreeMap<&str, Option<&str>> =
            self.settings.iter().map(|(name, value)| (name.as_str(), Some(value.as_str()))).collect();
        values.extend(changes.iter().copied());
        let is_kept = |line: &&str| line.split_once('=').is_none_or(|(name, _)| !values.contains_key(name));
        let mut text: Vec<String> = example.lines().filter(is_kept).map(str::to_owned).collect();
        text.extend(values.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?))));
        let path = self.settings_file();
        fs::write(&path, text.join("\n") + "\n").with_context(|| path.display().to_string())
    }

    fn settings_file(&self) -> PathBuf {
        self.folder.join("settings.env")
    }

    /// Where the output of all commands goes.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("output.log")
    }

    /// A folder for files of a trial.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The command that restarts the engine, if this machine may.
    pub(super) fn restart_engine(&self) -> Option<&str> {
        self.restart_engine.as_deref()
    }

    fn compose(&self) -> anyhow::Result<Command> {
        let mut command = docker::compose_program().context("Compose is not installed")?;
        let settings = self.settings_file();
        command.current_dir(&self.root).env("SETTINGS_FILE", &settings).arg("--env-file").arg(&settings);
        command.args(["--file", "docker-compose.yml", "--project-name", self.name]);
        Ok(command)
    }

    /// Runs a command of Compose; its output includes both streams.
    pub(super) fn ends(&self, arguments: &[&str], limit: Duration) -> anyhow::Result<Ended> {
        let mut command = self.compose()?;
        command.args(arguments);
        self.end_of(&mut command, limit)
    }

    /// Runs any command; its output includes both streams.
    pub(super) fn end_of(&self, command: &mut Command, limit: Duration) -> anyhow::Result<Ended> {
        let path = self.folder.join("command.log");
        let file = fs::File::create(&path).with_context(|| path.display().to_string())?;
        command.stdout(file.try_clone()?).stderr(file);
        let status = foreground::run(command, limit);
        let output = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())?;
        let before = fs::read_to_string(self.log()).unwrap_or_default();
        // Without the environment, which may have a key.
        let called: Vec<_> = command.get_args().map(|one| one.to_string_lossy()).collect();
        fs::write(self.log(), format!("{before}\n== {}\n{output}", called.join(" ")))?;
        Ok(Ended { is_success: status?.success(), output })
    }

    /// Like [`Self::ends`], but the command must succeed.
    pub(super) fn succeeds(&self, arguments: &[&str], limit: Duration) -> anyhow::Result<String> {
        let ended = self.ends(arguments, limit)?;
        ensure!(ended.is_success, "`compose {}` failed: {}", arguments.join(" "), tail(&ended.output));
        Ok(ended.output)
    }

    pub(super) fn build(&self) -> anyhow::Result<()> {
        self.succeeds(&["build"], BUILD_LIMIT).map(drop)
    }

    /// Starts everything, and waits until the API and a worker are healthy.
    pub(super) fn up(&self) -> anyhow::Result<()> {
        self.succeeds(&["up", "-d"], UP_LIMIT)?;
        ["mongodb", "rabbitmq", "s3", "api", "worker"].into_iter().try_for_each(|name| self.is_healthy(name))
    }

    /// Waits until all containers of a service are healthy.
    pub(super) fn is_healthy(&self, service: &str) -> anyhow::Result<()> {
        wait::until(
            SOON,
            || format!("{service} did not become healthy"),
            || {
                let containers = self.inspect(service)?;
                let is_healthy = |container: &Value| container["State"]["Health"]["Status"] == "healthy";
                Ok((!containers.is_empty() && containers.iter().all(is_healthy)).then_some(()))
            },
        )
    }

    /// Ids of the service's containers, also of ended ones.
    pub(super) fn ids(&self, service: &str) -> anyhow::Result<Vec<String>> {
        let mut command = Command::new("docker");
        let of_service = format!("label=com.docker.compose.service={service}");
        let of_project = format!("label=com.docker.compose.project={}", self.name);
        command.args(["ps", "--all", "--quiet", "--filter", &of_project, "--filter", &of_service]);
        let (_, output) = foreground::capture(command.stderr(Stdio::null()), QUESTION_LIMIT)?;
        Ok(output.lines().map(str::to_owned).collect())
    }

    /// `docker inspect` of the service's containers.
    pub(super) fn inspect(&self, service: &str) -> anyhow::Result<Vec<Value>> {
        let ids = self.ids(service)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = Command::new("docker");
        command.arg("inspect").args(ids).stderr(Stdio::null());
        let (_, output) = foreground::capture(&mut command, QUESTION_LIMIT)?;
        Ok(serde_json::from_str(&output).unwrap_or_default())
    }

    /// Stops and removes everything, with the data.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        self.set(&[])?;
        self.succeeds(&["down", "--volumes", "--timeout", "3"], RUN_LIMIT).map(drop)
    }

    pub(super) fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.settings["PORT"])
    }

    /// Creates an export of the demo's fleet that is not shared; returns its address.
    pub(super) fn create_export(&self) -> anyhow::Result<String> {
        let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-02", "fresh": true });
        let (location, _) = http::post(&format!("{}/export", self.api()), &body)?;
        Ok(location)
    }

    /// Waits until the job is as wanted; fails if it ends otherwise.
    pub(super) fn until(location: &str, is_wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let poller = Poller::new();
        let mut last = Value::Null;
        let waited = wait::until(
            SOON,
            || format!("{location} did not get there"),
            || {
                // The API may be restarting.
                let Ok(job) = poller.get(location) else { return Ok(None) };
                last = job;
                if is_wanted(&last) {
                    return Ok(Some(()));
                }
                if matches!(last["state"].as_str(), Some("FINISHED" | "FAILED" | "CANCELLED")) {
                    bail!("{location} ended: {last}");
                }
                Ok(None)
            },
        );
        waited.with_context(|| last.to_string())?;
        Ok(last)
    }

    /// Waits until the export is finished, at its first attempt.
    pub(super) fn finishes_at_once(location: &str) -> anyhow::Result<()> {
        let job = Self::until(location, |job| job["state"] == "FINISHED")?;
        ensure!(job["attempts"] == 1, "the outage took an attempt: {job}");
        ensure!(job["stats"]["rows"].as_u64() > Some(0), "no rows: {job}");
        Ok(())
    }
}

/// The end of an output.
pub(super) fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
