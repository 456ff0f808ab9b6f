//! Where a download goes, looked at before any work is done.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use export_core::JobId;

use crate::failure::UsageError;
use crate::run::check_replaceable;

/// The file or folder that a result becomes.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    path: Option<PathBuf>,
    /// A zip is a file, everything else a folder.
    is_folder: bool,
    pub(super) may_replace: bool,
    /// What the user gives it with.
    flag: &'static str,
}

impl Destination {
    /// Fails when nothing can be written there, or when something is there that must not be replaced. Without a path the result has
    /// the export's id as its name, in the current folder.
    pub(crate) fn check(
        path: Option<PathBuf>,
        is_folder: bool,
        may_replace: bool,
        flag: &'static str,
    ) -> anyhow::Result<Self> {
        let destination = Self { path, is_folder, may_replace, flag };
        if let Some(path) = &destination.path
            && !destination.is_folder_for_zip(path)
        {
            destination.require_free(path)?;
        }
        Ok(destination)
    }

    /// The path for this export, which is free or may be replaced.
    pub(super) fn of(&self, id: JobId) -> anyhow::Result<PathBuf> {
        let name = if self.is_folder { id.to_string() } else { format!("{id}.zip") };
        let path = match &self.path {
            None => PathBuf::from(name),
            Some(path) if self.is_folder_for_zip(path) => path.join(name),
            Some(path) => path.clone(),
        };
        self.require_free(&path)?;
        Ok(path)
    }

    pub(super) fn is_folder(&self) -> bool {
        self.is_folder
    }

    fn is_folder_for_zip(&self, path: &Path) -> bool {
        !self.is_folder && path.is_dir()
    }

    fn require_free(&self, path: &Path) -> anyhow::Result<()> {
        let (shown, flag) = (path.display(), self.flag);
        if path.file_name().is_none() {
            return Err(UsageError(format!(
                "{flag}: {shown} ends without a name; give the name of what is to be written"
            ))
            .into());
        }
        let folder = folder_of(path);
        match fs::metadata(folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => bail!("{} is no folder; give another place with {flag}", folder.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!(
                    "{} does not exist; make the folder first, or give another place with {flag}",
                    folder.display()
                )
            }
            Err(error) => return Err(error).context(format!("{} cannot be used", folder.display())),
        }
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).context(format!("{shown} cannot be used")),
        };
        match self.is_folder {
            true if !found.is_dir() => {
                bail!(
                    "{shown} is no folder, and the export is one file per vehicle; give the name of a folder with {flag}"
                )
            }
            true if is_empty(path)? => Ok(()),
            false if !found.is_file() => bail!("{shown} is no plain file; give another name with {flag}"),
            _ if !self.may_replace => {
                bail!("{shown} is there already; give another name with {flag}, or --force to replace it")
            }
            true => check_replaceable(path),
            false => Ok(()),
        }
    }
}

/// The folder that holds this path.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn is_empty(folder: &Path) -> anyhow::Result<bool> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()));
    Ok(entries?.next().is_none())
}
