//! A small file system, for tests of a full disk.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A separate file system in memory; unmounted when dropped. Its users must have ended by then.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts a disk of this many bytes. Panics without the permission to mount.
    pub fn of(bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(folder.path())
            .output();
        let is_mounted = mount.as_ref().is_ok_and(|mount| mount.status.success());
        assert!(
            is_mounted,
            "no file system can be mounted ({mount:?}): run the tests as root, in a container with CAP_SYS_ADMIN"
        );
        Self { folder }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a file that is still open must not keep the disk mounted.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}
