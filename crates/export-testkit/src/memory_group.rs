//! A limit on the memory of programs, by the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// The directory of the memory controller in version 1 of control groups, and of everything in
/// version 2.
const VERSION_1: &str = "/sys/fs/cgroup/memory";
const VERSION_2: &str = "/sys/fs/cgroup";
/// How long the kernel may take to release ended processes.
const EMPTY: Duration = Duration::from_secs(10);

/// A control group with a memory limit; removed when dropped. Its programs must have ended by then.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
}

impl MemoryGroup {
    /// A new group. Its processes together get this many bytes, swap included; the kernel kills a
    /// process that exceeds the limit. Panics if this machine does not allow a new group.
    pub fn limited_to(bytes: u64) -> Self {
        let name = format!("exports-test-{}", Uuid::new_v4().simple());
        let is_version_1 = Path::new(VERSION_1).join("memory.limit_in_bytes").exists();
        let root = if is_version_1 { VERSION_1 } else { VERSION_2 };
        let group = Self { folder: Path::new(root).join(name) };
        let limited = if is_version_1 { group.limit_1(bytes) } else { group.limit_2(bytes) };
        if let Err(error) = limited {
            panic!(
                "no memory group can be made at {} ({error}): run the tests as root, on a machine or in a container \
                 where control groups of memory are writable",
                group.folder.display()
            );
        }
        group
    }

    fn limit_1(&self, bytes: u64) -> std::io::Result<()> {
        fs::create_dir(&self.folder)?;
        fs::write(self.folder.join("memory.limit_in_bytes"), bytes.to_string())?;
        // If the kernel does not count swap, the file does not exist.
        let with_swap = self.folder.join("memory.memsw.limit_in_bytes");
        if with_swap.exists() { fs::write(with_swap, bytes.to_string()) } else { Ok(()) }
    }

    fn limit_2(&self, bytes: u64) -> std::io::Result<()> {
        fs::write(Path::new(VERSION_2).join("cgroup.subtree_control"), "+memory")?;
        fs::create_dir(&self.folder)?;
        fs::write(self.folder.join("memory.max"), bytes.to_string())?;
        let swap = self.folder.join("memory.swap.max");
        if swap.exists() { fs::write(swap, "0") } else { Ok(()) }
    }

    /// A shell script that enters the group and becomes the program that its arguments name.
    pub(crate) fn entering_script(&self) -> String {
        format!("echo $$ > '{}/cgroup.procs' && exec \"$@\"", self.folder.display())
    }

    /// Peak memory use in bytes. Panics if the kernel does not report it.
    pub fn peak_bytes(&self) -> u64 {
        let files = ["memory.max_usage_in_bytes", "memory.peak"];
        let peak = files.iter().find_map(|name| fs::read_to_string(self.folder.join(name)).ok());
        let peak = peak.and_then(|text| text.trim().parse().ok());
        peak.unwrap_or_else(|| panic!("{} has no peak", self.folder.display()))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // The processes have been reaped; the kernel updates its count a little later.
        let give_up_at = Instant::now() + EMPTY;
        while fs::remove_dir(&self.folder).is_err() && self.folder.exists() && Instant::now() < give_up_at {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
