//! The machine of a benchmark, in words.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::foreground;
use crate::layout::Layout;

const QUESTION_LIMIT: Duration = Duration::from_secs(20);

/// One line: processor, cores, memory, kernel, compiler.
pub(crate) fn describe(layout: &Layout) -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let memory_gib = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok())
        .map_or_else(|| "?".to_owned(), |kib| (kib >> 20).to_string());
    format!(
        "{}, {cores} cores, {memory_gib} GiB of memory, Linux {}, {}",
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned()),
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        compiler(layout).unwrap_or_else(|| "unknown compiler".to_owned()),
    )
}

/// The first value of that name in a file of `name: value` lines.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

fn compiler(layout: &Layout) -> Option<String> {
    let mut command = Command::new("rustc");
    // In the workspace, which may name its own toolchain.
    command.arg("--version").current_dir(&layout.root).stderr(Stdio::null());
    let (status, text) = foreground::capture(&mut command, QUESTION_LIMIT).ok()?;
    status.success().then(|| text.trim().to_owned())
}
