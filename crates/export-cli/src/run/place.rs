//! Where the result goes: first under a name that nobody looks for, and under its own when it is whole.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use export_core::output::Archive;
use tempfile::{Builder, NamedTempFile, TempDir};

use super::target::{Target, check_replaceable};

/// A result that is being written. Whoever writes it and whoever may end the program share it.
#[derive(Debug)]
pub(crate) struct Place {
    target: Target,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Nothing is there.
    Empty,
    File(NamedTempFile),
    Folder(TempDir),
    /// Nothing is there, and nothing will be.
    Closed,
}

impl Place {
    pub(crate) fn new(target: Target) -> Self {
        Self { target, state: Mutex::new(State::Empty) }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Begins a result, and throws away the one that was begun before.
    pub(crate) fn stage(&self) -> io::Result<()> {
        let mut state = self.state();
        if matches!(*state, State::Closed) {
            return Err(closed());
        }
        remove(std::mem::replace(&mut *state, State::Empty))?;
        let (folder, name) = (&self.target.folder, &self.target.name);
        *state = match self.target.archive {
            Archive::Zip => {
                let mut builder = Builder::new();
                let prefix = hidden(name, "partial");
                // What the user's umask leaves of it, as for any other file that is made.
                let builder = builder.prefix(&prefix).permissions(Permissions::from_mode(0o666));
                State::File(builder.tempfile_in(folder)?)
            }
            Archive::None => {
                let mut builder = Builder::new();
                let prefix = hidden(name, "partial");
                let builder = builder.prefix(&prefix).permissions(Permissions::from_mode(0o777));
                State::Folder(builder.tempdir_in(folder)?)
            }
        };
        Ok(())
    }

    /// A file for an object: the only one, or one of this name.
    pub(crate) fn begin(&self, name: &str) -> io::Result<File> {
        match &*self.state() {
            State::File(file) => file.as_file().try_clone(),
            State::Folder(folder) => {
                OpenOptions::new().write(true).create_new(true).open(folder.path().join(name))
            }
            State::Empty | State::Closed => Err(closed()),
        }
    }

    /// Gives the result its name. Its files are on the disk by then.
    pub(crate) fn commit(&self) -> io::Result<()> {
        let mut state = self.state();
        let target = &self.target;
        match std::mem::replace(&mut *state, State::Closed) {
            State::File(file) if target.force => file.persist(&target.path).map(drop)?,
            State::File(file) => match file.persist_noclobber(&target.path) {
                // Some file systems know no renaming that spares what is there.
                Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists && !target.path.exists() => {
                    error.file.persist(&target.path).map(drop)?;
                }
                outcome => outcome.map(drop)?,
            },
            State::Folder(folder) => {
                sync(folder.path());
                self.rename(folder)?;
            }
            State::Empty | State::Closed => return Err(closed()),
        }
        sync(&target.folder);
        Ok(())
    }

    fn rename(&self, folder: TempDir) -> io::Result<()> {
        let Target { path, folder: parent, name, force, .. } = &self.target;
        let aside = match fs::symlink_metadata(path) {
            Ok(_) if *force => {
                // Looked at again: the export may have taken hours.
                check_replaceable(path).map_err(io::Error::other)?;
                let aside = Builder::new().prefix(&hidden(name, "replaced")).tempdir_in(parent)?;
                fs::rename(path, aside.path().join(name))?;
                Some(aside)
            }
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => None,
        };
        if let Err(error) = fs::rename(folder.path(), path) {
            if let Some(aside) = aside {
                let put_back = fs::rename(aside.path().join(name), path);
                if put_back.is_err() {
                    // Better a folder of a strange name than an export that is gone.
                    let _ = aside.keep();
                }
            }
            return Err(error);
        }
        // It has another name now, and nothing to remove.
        let _ = folder.keep();
        aside.map_or(Ok(()), TempDir::close)
    }

    /// Throws away what was begun; nothing can be begun any more. Without effect on a result that has its name.
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

/// What the name of something begins with that stands beside `name` and is not to be seen.
fn hidden(name: &OsStr, what: &str) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{what}-"));
    hidden
}

/// Lets the names in a folder survive a power failure. File systems that cannot do it do not fail for it: the files are whole.
fn sync(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
}
