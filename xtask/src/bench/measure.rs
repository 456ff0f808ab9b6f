//! The cost of a process: wall time, CPU time, peak memory.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::{foreground, interrupt};

/// Unit of CPU time in `/proc`, equal on every processor on which Linux runs these programs.
const TICKS_PER_SECOND: f64 = 100.0;
/// Poll interval of a child: short compared with its runtime of tenths of a second.
const INTERVAL: Duration = Duration::from_millis(2);
/// How long an interrupted child may take to exit before it is signalled again.
const GRACE: Duration = Duration::from_secs(2);

/// One run of one contestant.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) wall_seconds: f64,
    /// The wall time reported by the service, if it reports one.
    pub(crate) own_seconds: Option<f64>,
    /// CPU seconds by process; the contestant's own is the first.
    pub(crate) cpu_seconds: Vec<(&'static str, f64)>,
    pub(crate) peak_rss_bytes: Option<u64>,
    pub(crate) output: Option<Output>,
}

/// The result of a contestant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// All CSV text.
    pub(crate) csv_bytes: u64,
    /// All CSV text, compressed.
    pub(crate) compressed_bytes: u64,
    /// By vehicle: the CSV's size and CRC-32.
    pub(crate) vehicles: BTreeMap<String, (u64, u64)>,
}

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) wall_seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_bytes: u64,
}

/// Runs a program that prints one JSON document, and returns the document.
pub(crate) fn json(command: &mut Command, limit: Duration) -> anyhow::Result<Value> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (status, text) = foreground::capture(command, limit)?;
    ensure!(status.success(), "{name} failed ({status})");
    serde_json::from_str(&text).with_context(|| format!("{name} printed no JSON"))
}

/// Runs a program to its end and measures it from outside. Discards its standard output, not its
/// standard error.
pub(crate) fn child(command: &mut Command, limit: Duration) -> anyhow::Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("{name} could not be started"))?;
    let mut peak = 0;
    let stat = loop {
        let stat = Stat::of(child.id()).with_context(|| format!("{name} is not in /proc"))?;
        // Its memory figures vanish when it ends, its times stay until it is reaped.
        if stat.is_dead {
            break stat;
        }
        peak = peak_rss_bytes(child.id()).unwrap_or(peak);
        if interrupt::requested() || started.elapsed() > limit {
            foreground::end(&mut child, GRACE);
            bail!("{name} was ended after {} s", started.elapsed().as_secs());
        }
        thread::sleep(INTERVAL);
    };
    let wall_seconds = started.elapsed().as_secs_f64();
    let status = child.wait()?;
    ensure!(status.success(), "{name} failed ({status})");
    Ok(Child { wall_seconds, cpu_seconds: stat.cpu_seconds, peak_rss_bytes: peak })
}

/// CPU seconds that all processes of a group have used so far: every part of the stack leads its
/// own group.
pub(crate) fn group_cpu_seconds(leader: u32) -> anyhow::Result<f64> {
    let mut seconds = 0.0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that has ended meanwhile is not an error.
        seconds += Stat::of(pid).filter(|stat| stat.group == leader).map_or(0.0, |stat| stat.cpu_seconds);
    }
    Ok(seconds)
}

/// Peak resident memory of a process.
pub(crate) fn peak_rss_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))?;
    Some(kib.trim().parse::<u64>().ok()? * 1024)
}

/// The relevant part of `/proc/<pid>/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    is_dead: bool,
    group: u32,
    cpu_seconds: f64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Fields 3, 5, 14 and 15, counted from the last bracket of the command's name.
    fn parse(stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = after_name.split(' ').collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Self {
            is_dead: matches!(*fields.first()?, "Z" | "X"),
            group: fields.get(2)?.parse().ok()?,
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{Stat, child};

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "7 (a) b) Z 1 42 7 0 -1 4194560 1 2 3 4 150 25 7 8 20 0 1 0 4242 1000 1";
        assert_eq!(Stat::parse(stat), Some(Stat { is_dead: true, group: 42, cpu_seconds: 1.75 }));
    }

    #[test]
    fn a_child_is_measured_unless_it_fails() {
        let mut command = Command::new("/bin/sh");
        let measured = child(command.args(["-c", "exit 0"]), Duration::from_mins(1)).unwrap();
        assert!(measured.wall_seconds > 0.0);
        assert!(child(Command::new("/bin/sh").args(["-c", "exit 3"]), Duration::from_mins(1)).is_err());
    }
}
