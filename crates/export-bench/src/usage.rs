//! Wall time, CPU time and memory of this process.

use std::fs;
use std::time::Instant;

use anyhow::Context as _;
use cpu_time::ProcessTime;
use serde::Serialize;

/// What a run cost.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// From start to end.
    pub wall_seconds: f64,
    /// User and system time of all threads between start and end.
    pub cpu_seconds: f64,
    /// The most memory this process ever had resident, also before the start.
    pub peak_rss_bytes: u64,
}

/// Measures from its making on.
#[derive(Debug)]
pub struct Stopwatch {
    started: Instant,
    cpu_before: ProcessTime,
}

impl Stopwatch {
    /// Starts measuring.
    ///
    /// Fails where the system keeps no such figures.
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self { cpu_before: ProcessTime::try_now().context("CPU time")?, started: Instant::now() })
    }

    /// What the time since the start has cost.
    ///
    /// Fails where the system keeps no such figures.
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

/// `VmHWM`: unlike `ru_maxrss` it begins anew when a program is started, and knows nothing of who started it.
fn peak_rss_bytes() -> anyhow::Result<u64> {
    peak_bytes_of(&fs::read_to_string("/proc/self/status").context("/proc/self/status")?)
}

/// The most memory that a process ever had resident, from its `/proc/<pid>/status`.
///
/// Fails where that does not say.
pub fn peak_bytes_of(status: &str) -> anyhow::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmHWM")?;
    Ok(kib * 1024)
}
