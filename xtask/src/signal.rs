//! Sends signals.
//!
//! Uses the shell's `kill`. A crate for the system call would enable a feature of `libc` that the
//! services do not use, and every dependency would be compiled twice: once for the programs and
//! once for the whole workspace's tests.

use std::process::{Command, Stdio};

/// The receiver of a signal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// One process.
    Process(u32),
    /// All processes of a group.
    Group(u32),
}

/// Sends a signal, named without `SIG`. A process that has ended meanwhile is not an error, so none
/// is returned.
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
