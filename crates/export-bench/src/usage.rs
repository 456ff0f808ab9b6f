//! Wall time, CPU time and memory of this process.

use std::fs;
use std::time::Instant;

use anyhow::Context as _;
use cpu_time::ProcessTime;
use serde::Serialize;

/// Resources that a run used.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// From start to end.
    pub wall_seconds: f64,
    /// User and system time of all threads between start and end.
    pub cpu_seconds: f64,
    /// Peak resident memory of this process, including the time before the start.
    pub peak_rss_bytes: u64,
}

/// A running measurement.
#[derive(Debug)]
pub struct Stopwatch {
    started: Instant,
    cpu_before: ProcessTime,
}

impl Stopwatch {
    /// Starts measuring.
    ///
    /// Fails on systems without these figures.
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self { cpu_before: ProcessTime::try_now().context("CPU time")?, started: Instant::now() })
    }

    /// Resources used since the start.
    ///
    /// Fails on systems without these figures.
    pub fn stop(&self) -> anyhow::Result<Usage> {
        let wall = self.started.elapsed();
        let cpu = self.cpu_before.try_elapsed().context("CPU time")?;
        Ok(Usage {
            wall_seconds: wall.as_secs_f64(),
            cpu_seconds: cpu.as_secs_f64(),
            peak_rss_bytes: peak_rss_bytes()?,
        })
    }
}

/// `VmHWM`: unlike `ru_maxrss` it starts at zero with each program, whatever the parent process
/// used.
fn peak_rss_bytes() -> anyhow::Result<u64> {
    peak_bytes_of(&fs::read_to_string("/proc/self/status").context("/proc/self/status")?)
}

/// Peak resident memory of a process, from its `/proc/<pid>/status`.
///
/// Fails if the file has no such line.
pub fn peak_bytes_of(status: &str) -> anyhow::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmHWM")?;
    Ok(kib * 1024)
}
