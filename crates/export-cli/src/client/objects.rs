//! A result that is many objects, into a folder: everything is fetched and checked beside it, and then the folder gets its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use export_core::JobId;
use export_core::manifest::{MANIFEST_ENTRY, Manifest, VehicleManifest};
use indicatif::ProgressBar;
use serde::Deserialize;
use tempfile::Builder;

use super::console::shown;
use super::destination::folder_of;
use super::error::ClientError;
use super::part::with_suffix;
use super::result::sync;
use super::send::{Call, Client};
use super::transfer::{Wanted, fetch};
use super::verify;
use crate::run::check_replaceable;

#[derive(Debug, Deserialize)]
struct Listed {
    objects: Vec<Object>,
}

#[derive(Debug, Deserialize)]
struct Object {
    name: String,
    bytes: u64,
}

/// Fetches all objects of an export. `sha256` is the manifest's.
pub(super) async fn fetch_all(
    client: &Client,
    export: JobId,
    sha256: Option<&str>,
    folder: &Path,
    may_replace: bool,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let id = export.to_string();
    let answer = client.call(&Call::get(&["export", &id, "download"])).await?;
    let objects = answer.json::<Listed>()?.objects;
    check_names(&objects)?;
    // With the id in its name: what lies in it is this export's, and a later program goes on with it.
    let beside = with_suffix(folder, &format!(".{id}.part"));
    fs::create_dir_all(&beside).with_context(|| format!("{} cannot be made", beside.display()))?;
    let _lock = lock(&beside)?;

    let (manifest, others): (Vec<Object>, Vec<Object>) =
        objects.into_iter().partition(|object| object.name == MANIFEST_ENTRY);
    let [object] = &manifest[..] else { bail!("the export has no {MANIFEST_ENTRY}; it cannot be checked") };
    let path = beside.join(MANIFEST_ENTRY);
    let wanted = Wanted { export, object: Some(MANIFEST_ENTRY), bytes: object.bytes, sha256 };
    // Small, so that it is always fetched: everything else is held against it.
    fetch(client, &wanted, &path, bar).await?.rename(&path, true)?;
    let text = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| ClientError::Checksum(format!("{MANIFEST_ENTRY} cannot be read: {error}")))?;
    let files: BTreeMap<String, VehicleManifest> =
        manifest.vehicles.into_iter().map(|vehicle| (vehicle.entry.clone(), vehicle)).collect();
    for object in &others {
        fetch_one(client, export, object, &beside, files.get(&object.name), bar).await?;
    }
    sync(&beside);
    give_name(&beside, folder, may_replace)
        .with_context(|| format!("{} cannot be renamed to {}", beside.display(), folder.display()))?;
    sync(folder_of(folder));
    Ok(())
}

/// Names become names of files: each must be one name, and no two the same.
fn check_names(objects: &[Object]) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for Object { name, .. } in objects {
        let mut parts = Path::new(name).components();
        let is_one = matches!(parts.next(), Some(Component::Normal(part)) if part == name.as_str())
            && parts.next().is_none();
        if !is_one || name.contains(['/', '\\', '\0']) || !names.insert(name) {
            bail!("the service names a file {:?}, which is not taken for one", shown(name));
        }
    }
    Ok(())
}

async fn fetch_one(
    client: &Client,
    export: JobId,
    object: &Object,
    folder: &Path,
    file: Option<&VehicleManifest>,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let path = folder.join(&object.name);
    let before = bar.position();
    let is_there = path.metadata().is_ok_and(|found| found.is_file() && found.len() == object.bytes);
    if !is_there || fault(&path, &object.name, file).await?.is_some() {
        let wanted = Wanted { export, object: Some(&object.name), bytes: object.bytes, sha256: None };
        let mut part = fetch(client, &wanted, &path, bar).await?;
        let whole = part.whole()?.to_owned();
        if let Some(fault) = fault(&whole, &object.name, file).await? {
            part.discard()?;
            return Err(ClientError::Checksum(fault).into());
        }
        part.rename(&path, true)?;
    }
    bar.set_position(before + object.bytes);
    Ok(())
}

/// On a thread that may be busy for long: signals are listened to meanwhile.
async fn fault(path: &Path, name: &str, file: Option<&VehicleManifest>) -> anyhow::Result<Option<String>> {
    let (path, name, file) = (path.to_owned(), name.to_owned(), file.cloned());
    let checked = tokio::task::spawn_blocking(move || verify::fault(&path, &name, file.as_ref()));
    checked.await.context("a file could not be checked")?
}

/// Keeps other programs from the same folder while it is held.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let opened = File::open(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    match opened.try_lock() {
        Err(TryLockError::WouldBlock) => {
            bail!("{} is being written by another download; wait for it", folder.display())
        }
        // Some file systems know no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(opened),
    }
}

/// Renames the whole folder, where asked over an earlier export, which is gone only when the new one is there.
fn give_name(beside: &Path, folder: &Path, may_replace: bool) -> anyhow::Result<()> {
    let is_replaced = may_replace && folder.is_dir() && fs::read_dir(folder)?.next().is_some();
    if !is_replaced {
        // Replaces nothing but an empty folder.
        return Ok(fs::rename(beside, folder)?);
    }
    // Looked at again: the download may have taken hours.
    check_replaceable(folder)?;
    let aside = Builder::new().prefix(".replaced-").tempdir_in(folder_of(folder))?;
    let old: PathBuf = aside.path().join("old");
    fs::rename(folder, &old)?;
    if let Err(error) = fs::rename(beside, folder) {
        if fs::rename(&old, folder).is_err() {
            // Better a folder of a strange name than an export that is gone.
            let _ = aside.keep();
        }
        return Err(error.into());
    }
    Ok(aside.close()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(names: &[&str]) -> anyhow::Result<()> {
        let object = |name: &&str| Object { name: (*name).to_owned(), bytes: 0 };
        check_names(&names.iter().map(object).collect::<Vec<_>>())
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        checked(&["vehicle_001.csv.gz", "Bus_ü.csv", "..csv", "manifest.json"]).expect("names");
        for wrong in ["", ".", "..", "../a", "/etc/a", "a/b", "a/", "./a", "a\\b", "a\0b"] {
            assert!(checked(&[wrong]).is_err(), "{wrong:?}");
        }
        assert!(checked(&["a.csv", "a.csv"]).is_err(), "the same name twice");
    }
}
