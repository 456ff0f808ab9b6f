//! The paths of files and folders. Everything that this program writes is below the target folder.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::{console, wait};

/// How long to wait for another `cargo xtask` to finish with the same instance: a first start
/// downloads and compiles.
const LOCK_LIMIT: Duration = Duration::from_hours(1);

/// The folders of a checkout.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Layout {
    /// The checkout this program was built from.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies in the workspace")?
            .to_path_buf();
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |folder| root.join(folder));
        Ok(Self { root, target })
    }

    /// The instance that `up`, `demo` and `down` work on.
    pub(crate) fn stack(&self) -> Instance {
        Instance { dir: self.target.join("stack") }
    }

    /// The throw-away instance of `test`, apart from the stack's so that tests never meet its data.
    pub(crate) fn test_stack(&self) -> Instance {
        Instance { dir: self.target.join("stack-test") }
    }

    /// Downloaded programs. `down --purge` keeps them, because downloading them again takes long.
    pub(crate) fn packages(&self) -> PathBuf {
        self.target.join("packages")
    }
}

/// One set of processes with its data, logs and state.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) dir: PathBuf,
}

impl Instance {
    /// Where a part keeps its data.
    pub(crate) fn data(&self, part: &str) -> PathBuf {
        self.dir.join("data").join(part)
    }

    /// The log of a part or step.
    pub(crate) fn log(&self, part: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{part}.log"))
    }

    /// The record of a running part.
    pub(crate) fn record(&self, part: &str) -> PathBuf {
        self.dir.join("run").join(format!("{part}.json"))
    }

    /// Locks the instance until the returned file is dropped, so that two commands at once do not
    /// start it twice.
    pub(crate) fn lock(&self) -> anyhow::Result<File> {
        fs::create_dir_all(&self.dir).with_context(|| self.dir.display().to_string())?;
        let path = self.dir.join("lock");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        let mut is_printed = false;
        wait::until(
            LOCK_LIMIT,
            || format!("{} was not released by another `cargo xtask`", path.display()),
            || match file.try_lock() {
                Ok(()) => Ok(Some(())),
                Err(TryLockError::WouldBlock) => {
                    if !is_printed {
                        console::step("waiting for another `cargo xtask` that uses the same stack");
                        is_printed = true;
                    }
                    Ok(None)
                }
                Err(TryLockError::Error(error)) => Err(error.into()),
            },
        )?;
        Ok(file)
    }
}
