//! Sending signals.
//!
//! By the shell's own `kill`: a crate for the system call would give `libc` a feature that the services do not ask for, and with it
//! every dependency a second compilation, one for the programs and one for the whole workspace's tests.

use std::process::{Command, Stdio};

/// Who gets a signal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// One process.
    Process(u32),
    /// All processes of a group.
    Group(u32),
}

/// Sends a signal, named without `SIG`. One that ended meanwhile is no failure, so there is none to report.
pub(crate) fn send(name: &str, target: Target) {
    let target = match target {
        Target::Process(pid) => pid.to_string(),
        Target::Group(id) => format!("-{id}"),
    };
    let script = "kill -s \"$1\" -- \"$2\"";
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script, "kill", name, &target])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _ = command.status();
}
