//! Programs that outlive this one: started detached, recorded in files, and ended only if they are
//! still the started ones.

use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::identity::Identity;
use crate::layout::Instance;
use crate::signal::{self, Target};
use crate::{console, wait};

/// Longest shutdown of a program; RabbitMQ is the slowest.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(30);
/// How long the kernel may take to end a program that was killed.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// How to start a program.
#[derive(Debug)]
pub(crate) struct Program {
    /// Names its record and its log.
    pub(crate) part: &'static str,
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(String, String)>,
    /// Variables of this process that the program must not see.
    pub(crate) hidden: Vec<String>,
    /// Its address.
    pub(crate) port: u16,
}

/// The state that [`ensure`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    /// It was running already, from the same file with the same settings.
    Runs,
    /// It was not running.
    Started,
    /// It was running from an older file or with other settings.
    Restarted,
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Running {
    identity: Identity,
    fingerprint: String,
    /// Its address.
    pub(crate) port: u16,
}

impl Running {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.identity.pid
    }
}

/// The recorded program of that part, if it still runs.
pub(crate) fn running(instance: &Instance, part: &str) -> Option<Running> {
    let record: Value = serde_json::from_slice(&fs::read(instance.record(part)).ok()?).ok()?;
    let identity = Identity {
        pid: record["pid"].as_u64()?.try_into().ok()?,
        started: record["started"].as_str()?.to_owned(),
    };
    let fingerprint = record["fingerprint"].as_str()?.to_owned();
    let listener = record["port"].as_u64()?.try_into().ok()?;
    identity.is_alive().then_some(Running { identity, fingerprint, port: listener })
}

/// Starts a program unless it runs already; one that runs from an older file or with other settings
/// is started again.
pub(crate) fn ensure(instance: &Instance, program: &Program) -> anyhow::Result<Ensured> {
    let fingerprint = fingerprint(program)?;
    match running(instance, program.part) {
        Some(running) if running.fingerprint == fingerprint => return Ok(Ensured::Runs),
        Some(_) => stop(instance, program.part, STOP_GRACE)?,
        None => {
            start(instance, program, &fingerprint)?;
            return Ok(Ensured::Started);
        }
    };
    start(instance, program, &fingerprint)?;
    Ok(Ensured::Restarted)
}

/// An error with the end of its log, if the program of that part no longer runs.
pub(crate) fn check_alive(instance: &Instance, part: &str) -> anyhow::Result<()> {
    if running(instance, part).is_none() {
        bail!("{part} has ended; {}", console::tail(&instance.log(part)));
    }
    Ok(())
}

/// Ends the recorded program of that part with everything in its process group: SIGTERM, and
/// SIGKILL after `grace`. Returns whether it was running.
pub(crate) fn stop(instance: &Instance, part: &str, grace: Duration) -> anyhow::Result<bool> {
    let found = running(instance, part);
    if let Some(Running { identity, .. }) = &found {
        // Every part leads its own process group, so the group's id is that of the process, which
        // was alive a moment ago.
        let group = Target::Group(identity.pid);
        signal::send("TERM", group);
        if !wait::patiently(grace, || !identity.is_alive()) {
            signal::send("KILL", group);
            if !wait::patiently(KILL_GRACE, || !identity.is_alive()) {
                bail!("{part} (process {}) does not end", identity.pid);
            }
        }
    }
    let record = instance.record(part);
    if record.exists() {
        fs::remove_file(&record).with_context(|| record.display().to_string())?;
    }
    Ok(found.is_some())
}

fn start(instance: &Instance, program: &Program, fingerprint: &str) -> anyhow::Result<()> {
    let (log, record) = (instance.log(program.part), instance.record(program.part));
    for folder in [log.parent(), record.parent()].into_iter().flatten() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    // One earlier log is kept: it shows why a program had to be started again.
    let _ = fs::rename(&log, log.with_extension("log.1"));
    let output = File::create(&log).with_context(|| log.display().to_string())?;
    let mut command = Command::new(&program.executable);
    for name in &program.hidden {
        command.env_remove(name);
    }
    let child = command
        .args(&program.arguments)
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        // Its own process group: Ctrl-C in this terminal does not reach it, and it is ended
        // together with its children.
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} could not be started", program.executable.display()))?;
    let Some(identity) = Identity::of(child.id()) else {
        bail!("{} ended at once; {}", program.part, console::tail(&log));
    };
    let text = json!({
        "pid": identity.pid,
        "started": identity.started,
        "fingerprint": fingerprint,
        "port": program.port,
    });
    fs::write(&record, text.to_string()).with_context(|| record.display().to_string())
}

/// Changes when the program's file or anything it is started with does. A hash, since the
/// environment holds secrets.
fn fingerprint(program: &Program) -> anyhow::Result<String> {
    let file = fs::metadata(&program.executable).with_context(|| program.executable.display().to_string())?;
    let mut hasher = DefaultHasher::new();
    (&program.executable, file.len(), file.modified()?).hash(&mut hasher);
    (&program.arguments, &program.environment).hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Ensured, Program, STOP_GRACE, ensure, running, stop};
    use crate::layout::Instance;

    fn sleeper(seconds: &str) -> Program {
        Program {
            part: "sleeper",
            executable: "/bin/sleep".into(),
            arguments: vec![seconds.into()],
            environment: Vec::new(),
            hidden: Vec::new(),
            port: 1,
        }
    }

    #[test]
    fn started_once_restarted_when_changed_and_ended() {
        let dir = std::env::temp_dir().join(format!("xtask-background-{}", std::process::id()));
        let instance = Instance { dir: dir.clone() };
        assert_eq!(ensure(&instance, &sleeper("60")).unwrap(), Ensured::Started);
        assert_eq!(ensure(&instance, &sleeper("60")).unwrap(), Ensured::Runs);
        let first = running(&instance, "sleeper").unwrap().pid();
        assert_eq!(ensure(&instance, &sleeper("61")).unwrap(), Ensured::Restarted);
        let second = running(&instance, "sleeper").unwrap().pid();
        assert_ne!(first, second);
        assert!(stop(&instance, "sleeper", STOP_GRACE).unwrap());
        assert!(running(&instance, "sleeper").is_none());
        assert!(!stop(&instance, "sleeper", STOP_GRACE).unwrap());
        fs::remove_dir_all(dir).unwrap();
    }
}
