//! Identifies processes: ids are reused, so a record of a process also needs its start time.

use std::fs;

/// A process, distinguished from every later process with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// The boot, and the start in clock ticks since the boot.
    pub(crate) started: String,
}

impl Identity {
    /// The current process with this id; `None` if it has ended, also if its parent has not reaped
    /// it yet.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let ticks = start_ticks(&stat)?;
        Some(Self { pid, started: format!("{}/{ticks}", boot.trim()) })
    }

    /// Whether this very process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }
}

/// Field 22 of `/proc/<pid>/stat`, unless field 3 says that the process is dead.
///
/// The command's name in field 2 may hold spaces and brackets, so fields are counted from its last
/// bracket.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Identity, start_ticks};

    #[test]
    fn this_process_is_alive_and_an_earlier_one_with_its_id_is_not() {
        let own = Identity::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        let earlier = Identity { started: "another boot/1".to_owned(), ..own };
        assert!(!earlier.is_alive());
    }

    #[test]
    fn names_with_brackets_and_dead_processes() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1000 1";
        assert_eq!(start_ticks(stat), Some(4242));
        assert_eq!(start_ticks(&stat.replace(" S ", " Z ")), None);
    }
}
