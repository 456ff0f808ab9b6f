//! Wall time, CPU time and memory of this process.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
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
    cpu_before: Duration,
}

impl Stopwatch {
    /// Starts measuring.
    ///
    /// Fails where the system keeps no such figures.
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self { cpu_before: cpu_time()?, started: Instant::now() })
    }

    /// What the time since the start has cost.
    ///
    /// Fails where the system keeps no such figures.
    pub fn stop(&self) -> anyhow::Result<Usage> {
        let wall = self.started.elapsed();
        let cpu = cpu_time()?.saturating_sub(self.cpu_before);
        Ok(Usage {
            wall_seconds: wall.as_secs_f64(),
            cpu_seconds: cpu.as_secs_f64(),
            peak_rss_bytes: peak_rss_bytes()?,
        })
    }
}

fn cpu_time() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("getrusage")?;
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

/// `VmHWM`: unlike `ru_maxrss` it begins anew when a program is started, and knows nothing of who started it.
fn peak_rss_bytes() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmHWM")?;
    Ok(kib * 1024)
}
