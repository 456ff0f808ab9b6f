//! The output of `exports run`: written under a hidden temporary name, renamed when it is complete.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, NamedTempFile, TempDir};

use crate::output_path::{OutputKind, folder_of, rename_folder, require_free, sync_folder};

/// An output that is being written, shared by the thread that writes it and the one that handles
/// signals.
#[derive(Debug)]
pub(crate) struct StagedOutput {
    path: PathBuf,
    kind: OutputKind,
    may_replace: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Nothing is staged yet.
    Empty,
    File(NamedTempFile),
    Folder(TempDir),
    /// The output was committed or thrown away; nothing can be staged any more.
    Closed,
}

impl StagedOutput {
    /// Fails if `path`, given with `--output`, cannot be written. Creates nothing.
    pub(crate) fn new(path: &Path, kind: OutputKind, may_replace: bool) -> anyhow::Result<Self> {
        require_free(path, kind, may_replace, "--output")?;
        Ok(Self { path: path.to_owned(), kind, may_replace, state: Mutex::new(State::Empty) })
    }

    /// The final path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins an empty output, and deletes the one that was staged before.
    pub(crate) fn stage(&self) -> io::Result<()> {
        let mut state = self.state();
        if matches!(*state, State::Closed) {
            return Err(closed());
        }
        remove(std::mem::replace(&mut *state, State::Empty))?;
        let mut prefix = OsString::from(".");
        prefix.push(self.path.file_name().unwrap_or_default());
        prefix.push(".partial-");
        let (folder, mut builder) = (folder_of(&self.path), Builder::new());
        let builder = builder.prefix(&prefix);
        // The usual permissions of new files and folders; the user's umask restricts them.
        *state = match self.kind {
            OutputKind::File => {
                State::File(builder.permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?)
            }
            OutputKind::Folder => {
                State::Folder(builder.permissions(Permissions::from_mode(0o777)).tempdir_in(folder)?)
            }
        };
        Ok(())
    }

    /// The staged file, or a new file of this name in the staged folder.
    pub(crate) fn begin(&self, name: &str) -> io::Result<File> {
        match &*self.state() {
            State::File(file) => file.as_file().try_clone(),
            State::Folder(folder) => {
                OpenOptions::new().write(true).create_new(true).open(folder.path().join(name))
            }
            State::Empty | State::Closed => Err(closed()),
        }
    }

    /// Renames the staged output to its final path. Its files must be flushed to the disk by then.
    pub(crate) fn commit(&self) -> io::Result<()> {
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::Closed) {
            State::File(file) => self.rename_file(file)?,
            State::Folder(folder) => {
                sync_folder(folder.path());
                rename_folder(folder.path(), &self.path, self.may_replace)?;
                // The folder has another name now, so there is nothing to delete.
                let _ = folder.keep();
            }
            State::Empty | State::Closed => return Err(closed()),
        }
        sync_folder(folder_of(&self.path));
        Ok(())
    }

    fn rename_file(&self, file: NamedTempFile) -> io::Result<()> {
        if self.may_replace {
            return Ok(file.persist(&self.path).map(drop)?);
        }
        match file.persist_noclobber(&self.path) {
            // Some file systems have no rename that fails when the target exists.
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists && !self.path.exists() => {
                Ok(error.file.persist(&self.path).map(drop)?)
            }
            outcome => Ok(outcome.map(drop)?),
        }
    }

    /// Deletes what is staged; nothing can be staged after that. No effect on an output that was
    /// committed.
    pub(crate) fn close(&self) -> io::Result<()> {
        remove(std::mem::replace(&mut *self.state(), State::Closed))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(state: State) -> io::Result<()> {
    match state {
        State::File(file) => file.close(),
        State::Folder(folder) => folder.close(),
        State::Empty | State::Closed => Ok(()),
    }
}

fn closed() -> io::Error {
    io::Error::other("the export has ended")
}
