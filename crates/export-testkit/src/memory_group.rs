//! A limit on the memory of programs, by the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Where version 1 of control groups has memory, and where version 2 has everything.
const VERSION_1: &str = "/sys/fs/cgroup/memory";
const VERSION_2: &str = "/sys/fs/cgroup";
/// How long the kernel may take to let go of ended processes.
const EMPTY: Duration = Duration::from_secs(10);

/// A control group with a limit on memory; removed when dropped. Its programs must have ended by then.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
}

impl MemoryGroup {
    /// A new group whose processes together get this many bytes, swap included; the kernel kills a process that exceeds it. Panics when this machine
    /// does not let us make one.
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
        // Where the kernel does not count swap there is no such file.
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

    /// Most memory that was in use at a time, in bytes. Panics when the kernel does not tell.
    pub fn peak_bytes(&self) -> u64 {
        let files = ["memory.max_usage_in_bytes", "memory.peak"];
        let peak = files.iter().find_map(|name| fs::read_to_string(self.folder.join(name)).ok());
        let peak = peak.and_then(|text| text.trim().parse().ok());
        peak.unwrap_or_else(|| panic!("{} has no peak", self.folder.display()))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // The processes have been waited for; the kernel counts them out a little later.
        let give_up_at = Instant::now() + EMPTY;
        while fs::remove_dir(&self.folder).is_err() && self.folder.exists() && Instant::now() < give_up_at {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
