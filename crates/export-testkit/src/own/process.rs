//! A server's process, with all the processes that it starts.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::signal;

/// Longest wait for a server to start, or to end after a signal.
const PATIENCE: Duration = Duration::from_mins(2);
/// Delay between two checks.
const PAUSE: Duration = Duration::from_millis(20);
/// How much of a log a failure shows, in bytes.
const TAIL: usize = 4_000;

/// How to start a server.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(String, String)>,
    /// The file for all its output.
    pub(super) log: PathBuf,
}

/// A running server: the leader of a process group. Killed with its group when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    guard: Guard,
}

/// Kills the group when this process ends, in any way: it then reads the end of a pipe.
#[derive(Debug)]
struct Guard {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Process {
    /// Starts the server. Panics when it cannot be started.
    pub(super) fn start(start: &Start) -> Self {
        let log = File::options().create(true).append(true).open(&start.log);
        let log = log.unwrap_or_else(|error| panic!("{}: {error}", start.log.display()));
        let errors = log.try_clone().unwrap_or_else(|error| panic!("{}: {error}", start.log.display()));
        let child = Command::new(&start.program)
            .args(&start.arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn();
        let child =
            child.unwrap_or_else(|error| panic!("{} cannot be started: {error}", start.program.display()));
        let guard = Guard::of(child.id());
        Self { child, log: start.log.clone(), guard }
    }

    /// Kills the group at once, without a chance to clean up.
    pub(super) fn kill(mut self) {
        self.end();
    }

    /// Asks the server to end, and waits until it has.
    pub(super) fn terminate(mut self) {
        signal("TERM", &format!("-{}", self.child.id()));
        let asked_at = Instant::now();
        while self.has_not_ended() {
            assert!(asked_at.elapsed() < PATIENCE, "a server does not end: {}", self.log_tail());
            thread::sleep(PAUSE);
        }
        self.end();
    }

    /// Stops the whole group (SIGSTOP).
    pub(super) fn freeze(&self) {
        signal("STOP", &format!("-{}", self.child.id()));
    }

    /// Resumes the group (SIGCONT).
    pub(super) fn thaw(&self) {
        signal("CONT", &format!("-{}", self.child.id()));
    }

    /// Waits until the condition holds; panics when the server ends before, or it takes too long.
    pub(super) fn until(&mut self, what: &str, is_so: impl Fn() -> bool) {
        let started_at = Instant::now();
        while !is_so() {
            assert!(self.has_not_ended(), "a server has ended, {what} was awaited: {}", self.log_tail());
            assert!(started_at.elapsed() < PATIENCE, "{what} does not come: {}", self.log_tail());
            thread::sleep(PAUSE);
        }
    }

    fn has_not_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(TAIL)..]).into_owned()
    }

    fn end(&mut self) {
        // The group may be empty already.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("/bin/sh")
            .args(["-c", "kill -s KILL -- \"$0\"", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
        let killed_at = Instant::now();
        while is_alive(self.child.id()) && killed_at.elapsed() < PATIENCE {
            thread::sleep(PAUSE / 4);
        }
        self.guard.dismiss();
    }
}

/// Whether a process of this group still runs. A process that has ended but was not reaped counts
/// as gone after its last thread has ended: its files and ports are closed then.
fn is_alive(group: u32) -> bool {
    let processes = fs::read_dir("/proc").unwrap_or_else(|error| panic!("/proc: {error}"));
    processes.filter_map(Result::ok).any(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // After the name, which is in parentheses: state, parent, group.
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let state = fields.next();
        let group_of_process = fields.nth(1).and_then(|field| field.parse::<u32>().ok());
        let threads = || fs::read_dir(process.path().join("task")).map_or(0, Iterator::count);
        group_of_process == Some(group) && (!matches!(state, Some("Z" | "X")) || threads() > 1)
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

impl Guard {
    fn of(group: u32) -> Self {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "read line || kill -s KILL -- \"$0\"", &format!("-{group}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal to the test's own group must not end the server.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("no shell: {error}"));
        let pipe = child.stdin.take();
        Self { child, pipe }
    }

    fn dismiss(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.pipe = None;
    }
}

/// Whether something accepts connections there.
pub(super) fn is_open(port: u16) -> bool {
    TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), Duration::from_millis(500)).is_ok()
}
