//! Results on standard output: `--output -`.
//!
//! The file is written to the temporary folder first and copied when it is complete and verified, so
//! that a program behind a pipe never gets a part of an export, or wrong bytes, as if it were one.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _, stdout};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::failure::UsageError;
use crate::output_path::OutputKind;

/// The path that means standard output.
const DASH: &str = "-";

/// A file in the temporary folder that becomes standard output. Deleted when dropped.
#[derive(Debug)]
pub(crate) struct StdoutFile {
    folder: TempDir,
}

/// Whether the path means standard output.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path == Path::new(DASH)
}

/// Fails if a result of this kind cannot be written to standard output. `flag` is the flag that `-`
/// was given with.
pub(crate) fn require_stdout(kind: OutputKind, flag: &str) -> Result<(), UsageError> {
    let reason = if kind == OutputKind::Folder {
        "an export of many files cannot be written to standard output; give a folder, or --archive zip"
    } else if stdout().is_terminal() {
        "standard output is a terminal; redirect it to a file or to another program"
    } else {
        return Ok(());
    };
    Err(UsageError(format!("{flag} {DASH}: {reason}")))
}

impl StdoutFile {
    /// An empty temporary folder for the file.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("exports-").with_context(|| {
            format!("cannot create a folder in {} (see the variable TMPDIR)", std::env::temp_dir().display())
        })?;
        Ok(Self { folder })
    }

    /// The path to write the file to.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("export.zip")
    }

    /// Copies the file to standard output. Does not block, so that a signal can end the program while
    /// the reader does not read.
    pub(crate) async fn send(&self) -> anyhow::Result<()> {
        let path = self.path();
        let copied = tokio::task::spawn_blocking(move || copy(&path)).await.map_err(io::Error::other);
        copied.flatten().context("cannot write to standard output")
    }
}

fn copy(path: &Path) -> io::Result<()> {
    let mut output = stdout().lock();
    io::copy(&mut File::open(path)?, &mut output)?;
    output.flush()
}
