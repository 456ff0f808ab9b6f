//! A wall clock that is wrong, for one program.

use std::process::Command;

use tempfile::TempDir;

use crate::program::Program;

/// The library that is loaded before all others.
const SOURCE: &str = include_str!("shift.c");

/// Makes programs see another time of day. It holds the library, so it must outlive them.
#[derive(Debug)]
pub struct WrongClock {
    folder: TempDir,
    offset_seconds: i64,
}

impl WrongClock {
    /// A clock that is this many seconds ahead, or behind when negative. Compiles the library;
    /// panics without a C compiler (`cc`).
    pub fn ahead_by(offset_seconds: i64) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
        let source = folder.path().join("shift.c");
        std::fs::write(&source, SOURCE).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(folder.path().join("shift.so")).arg(&source);
        match command.output() {
            Ok(ended) if ended.status.success() => {}
            Ok(ended) => panic!("cc failed: {}", String::from_utf8_lossy(&ended.stderr)),
            Err(error) => panic!("cc could not be started ({error}): install a C compiler"),
        }
        Self { folder, offset_seconds }
    }

    /// Runs the program with this clock. Its monotonic clock stays right.
    pub fn applied_to(&self, program: Program) -> Program {
        let library = self.folder.path().join("shift.so");
        program
            .with("LD_PRELOAD", &library.to_string_lossy())
            .with("EXPORTS_TEST_CLOCK_OFFSET_SECONDS", &self.offset_seconds.to_string())
    }
}
