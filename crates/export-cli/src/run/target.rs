//! What `-o` names, looked at before any work is done.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use export_core::manifest::{MANIFEST_ENTRY, Manifest};
use export_core::output::Archive;

use crate::failure::UsageError;

/// The file or folder that an export becomes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// As the user has it.
    pub(crate) path: PathBuf,
    /// The folder that it will be in, which exists.
    pub(crate) folder: PathBuf,
    /// Its name there.
    pub(crate) name: OsString,
    /// A zip is a file, everything else a folder.
    pub(crate) archive: Archive,
    /// Whether what is there may be replaced.
    pub(crate) force: bool,
}

impl Target {
    /// Fails when nothing can be written there, or when something is there that must not be replaced.
    pub(crate) fn check(path: &Path, archive: Archive, force: bool) -> anyhow::Result<Self> {
        let shown = path.display();
        let name = path.file_name().ok_or_else(|| {
            UsageError(format!(
                "--output: {shown} ends without a name; give the name of what is to be written"
            ))
        })?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        match fs::metadata(folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => bail!("{} is no folder; give another place with --output", folder.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!(
                    "{} does not exist; make the folder first, or give another place with --output",
                    folder.display()
                )
            }
            Err(error) => return Err(error).context(format!("{} cannot be used", folder.display())),
        }
        match fs::symlink_metadata(path) {
            Ok(found) => check_existing(path, &found, archive, force)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(format!("{shown} cannot be used")),
        }
        let (path, folder, name) = (path.to_owned(), folder.to_owned(), name.to_owned());
        Ok(Self { path, folder, name, archive, force })
    }
}

fn check_existing(path: &Path, found: &fs::Metadata, archive: Archive, force: bool) -> anyhow::Result<()> {
    let shown = path.display();
    match archive {
        Archive::Zip if found.is_dir() => {
            bail!(
                "{shown} is a folder; --output takes the name of the zip, such as {}",
                path.join("export.zip").display()
            )
        }
        Archive::Zip if !found.is_file() => {
            bail!("{shown} is no plain file; give another name with --output")
        }
        Archive::None if !found.is_dir() => {
            bail!("{shown} is no folder; with --archive none, --output takes the name of a folder to make")
        }
        _ if !force => {
            bail!("{shown} is there already; give another name with --output, or --force to replace it")
        }
        Archive::Zip => Ok(()),
        Archive::None => check_replaceable(path),
    }
}

/// Whether a folder holds an export and nothing else: `--force` with the wrong folder must not cost anybody their files.
pub(crate) fn check_replaceable(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    let unreadable = || format!("{shown} cannot be read");
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
            "{shown} holds more than an earlier export ({}), so --force does not replace it; give another name with --output",
            name.display()
        ),
    }
}
