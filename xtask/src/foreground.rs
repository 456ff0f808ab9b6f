//! Commands that run to their end, always with a time limit.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::signal::{self, Target};
use crate::{console, interrupt, wait};

/// How long a child may take to exit after SIGTERM.
const END_GRACE: Duration = Duration::from_secs(10);
/// Ctrl-C at a terminal reaches the child too; it gets this long to exit before it gets SIGTERM.
const INTERRUPT_GRACE: Duration = Duration::from_secs(2);

/// Runs a command with its own choice of output (by default the terminal).
pub(crate) fn run(command: &mut Command, limit: Duration) -> anyhow::Result<ExitStatus> {
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("{} could not be started", name(command)))?;
    wait_for(&mut child, limit).with_context(|| name(command))
}

/// Runs a command and returns what it writes to standard output.
pub(crate) fn capture(command: &mut Command, limit: Duration) -> anyhow::Result<(ExitStatus, String)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} could not be started", name(command)))?;
    let mut stdout = child.stdout.take().context("standard output is piped")?;
    // Read while waiting, because a full pipe would block the child.
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stdout.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let status = wait_for(&mut child, limit).with_context(|| name(command))?;
    let text =
        reader.join().map_err(|_| anyhow::anyhow!("the output of {} could not be read", name(command)))?;
    Ok((status, text))
}

/// Runs a command with its output in a log; an error contains the last lines of that log.
pub(crate) fn run_logged(
    command: &mut Command,
    limit: Duration,
    log: &Path,
    what: &str,
) -> anyhow::Result<()> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let file = File::create(log).with_context(|| log.display().to_string())?;
    // The end of the log is for people: an error's cause, without a backtrace.
    command.env("RUST_LIB_BACKTRACE", "0").stdout(file.try_clone()?).stderr(file);
    match run(command, limit) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("{what} failed ({status}); {}", console::tail(log)),
        Err(error) => Err(error.context(format!("{what} failed; {}", console::tail(log)))),
    }
}

/// Whether a program of that name is on the search path.
pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
        + &command
            .get_args()
            .next()
            .map(OsStr::to_string_lossy)
            .map(|first| format!(" {first}"))
            .unwrap_or_default()
}

fn wait_for(child: &mut Child, limit: Duration) -> anyhow::Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt::requested() {
            end(child, INTERRUPT_GRACE);
            bail!("interrupted");
        }
        if Instant::now() >= deadline {
            end(child, Duration::ZERO);
            bail!("not done within {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Ends a child: waits `grace` for its exit, then SIGTERM, then SIGKILL.
pub(crate) fn end(child: &mut Child, grace: Duration) {
    let mut has_ended = |limit| wait::patiently(limit, || !matches!(child.try_wait(), Ok(None)));
    if has_ended(grace) {
        return;
    }
    signal::send("TERM", Target::Process(child.id()));
    let mut has_ended = |limit| wait::patiently(limit, || !matches!(child.try_wait(), Ok(None)));
    if !has_ended(END_GRACE) {
        let _ = child.kill();
        let _ = child.wait();
    }
}
