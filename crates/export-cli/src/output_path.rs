//! Paths that results are written to: checked before any work is done, replaced only when asked.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use export_core::manifest::{MANIFEST_ENTRY, Manifest};
use export_core::output::Archive;
use tempfile::{Builder, TempDir};

use crate::failure::UsageError;

/// What a result is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputKind {
    /// A zip.
    File,
    /// One file per vehicle and the manifest.
    Folder,
}

impl OutputKind {
    /// The kind of a result whose archive the request names, in the API's word.
    pub(crate) fn of_archive(name: &str) -> Self {
        if name == "none" { Self::Folder } else { Self::File }
    }
}

impl From<Archive> for OutputKind {
    fn from(archive: Archive) -> Self {
        match archive {
            Archive::Zip => Self::File,
            Archive::None => Self::Folder,
        }
    }
}

/// Fails if a result cannot be written to `path`, or if something is there that must not be
/// replaced. `flag` is the flag that the path was given with, for messages. An empty folder may
/// always become a result.
pub(crate) fn require_free(
    path: &Path,
    kind: OutputKind,
    may_replace: bool,
    flag: &str,
) -> anyhow::Result<()> {
    let shown = path.display();
    if path.file_name().is_none() {
        let text =
            format!("{flag}: {shown} does not end in a name; give the name of the file or folder to write");
        return Err(UsageError(text).into());
    }
    require_folder(folder_of(path), flag)?;
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context(format!("cannot use {shown}")),
    };
    match kind {
        OutputKind::File if found.is_dir() => bail!(
            "{shown} is a folder; give the name of the file to write with {flag}, such as {}",
            path.join("export.zip").display()
        ),
        OutputKind::File if !found.is_file() => {
            bail!("{shown} is not a regular file; give another name with {flag}")
        }
        OutputKind::Folder if !found.is_dir() => bail!(
            "{shown} is not a folder, and the export is one file per vehicle; give the name of a folder with {flag}"
        ),
        OutputKind::Folder if is_empty(path)? => Ok(()),
        _ if !may_replace => {
            bail!("{shown} exists already; give another name with {flag}, or --force to replace it")
        }
        OutputKind::Folder => check_replaceable(path),
        OutputKind::File => Ok(()),
    }
}

fn require_folder(folder: &Path, flag: &str) -> anyhow::Result<()> {
    let shown = folder.display();
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => bail!("{shown} is not a folder; give another path with {flag}"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{shown} does not exist; make the folder first, or give another path with {flag}")
        }
        Err(error) => Err(error).context(format!("cannot use {shown}")),
    }
}

/// Fails unless the folder holds an earlier export and nothing else: `--force` with a wrong folder
/// must not delete other files.
fn check_replaceable(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    let unreadable = || format!("cannot read {shown}");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        names.insert(entry.with_context(unreadable)?.file_name());
    }
    let manifest = fs::read(folder.join(MANIFEST_ENTRY)).unwrap_or_default();
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(&manifest) {
        names.remove(&OsString::from(MANIFEST_ENTRY));
        for vehicle in &manifest.vehicles {
            names.remove(&OsString::from(&vehicle.entry));
        }
    }
    match names.first() {
        None => Ok(()),
        Some(name) => bail!(
            "{shown} holds more than an earlier export ({}), so --force does not replace it; give another name",
            name.display()
        ),
    }
}

/// Renames a whole folder to its final path. With `may_replace` it replaces an earlier export,
/// which is deleted only after the new one has its name; otherwise it replaces nothing but an empty
/// folder.
pub(crate) fn rename_folder(from: &Path, to: &Path, may_replace: bool) -> io::Result<()> {
    let is_replaced = may_replace && to.is_dir() && fs::read_dir(to)?.next().is_some();
    if !is_replaced {
        return fs::rename(from, to);
    }
    // Checked a second time: the export or the download may have taken hours.
    check_replaceable(to).map_err(io::Error::other)?;
    let aside: TempDir = Builder::new().prefix(".replaced-").tempdir_in(folder_of(to))?;
    let earlier = aside.path().join("earlier");
    fs::rename(to, &earlier)?;
    if let Err(error) = fs::rename(from, to) {
        if fs::rename(&earlier, to).is_err() {
            // The earlier export survives under the temporary name.
            let _ = aside.keep();
        }
        return Err(error);
    }
    aside.close()
}

/// The folder that contains the path.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Flushes the names in a folder to the disk, so that they survive a power failure. Some file
/// systems cannot; that is no error, since the files themselves are flushed.
pub(crate) fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
}

fn is_empty(folder: &Path) -> anyhow::Result<bool> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()));
    Ok(entries?.next().is_none())
}
