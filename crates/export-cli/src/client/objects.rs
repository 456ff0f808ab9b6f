//! Downloads a result of many objects into a folder: all objects are fetched and verified in a
//! temporary folder beside it, which is then renamed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Component, Path};

use anyhow::{Context as _, bail};
use export_core::JobId;
use export_core::manifest::{MANIFEST_ENTRY, Manifest, VehicleManifest};
use serde::Deserialize;

use super::error::ClientError;
use super::part::with_suffix;
use super::send::{Call, Client};
use super::transfer::{Wanted, fetch};
use super::verify;
use crate::output_path::{folder_of, rename_folder, sync_folder};
use crate::print::sanitized;
use crate::progress_bar::TransferBar;

#[derive(Debug, Deserialize)]
struct Listed {
    objects: Vec<Object>,
}

#[derive(Debug, Deserialize)]
struct Object {
    name: String,
    bytes: u64,
    /// SHA-256 in hex; missing in answers of earlier versions and for results of theirs.
    sha256: Option<String>,
}

/// Fetches all objects of an export. `sha256` is the manifest's SHA-256 in hex.
pub(super) async fn fetch_all(
    client: &Client,
    export: JobId,
    sha256: Option<&str>,
    folder: &Path,
    may_replace: bool,
    bar: &TransferBar,
) -> anyhow::Result<()> {
    let id = export.to_string();
    let answer = client.call(&Call::get(&["export", &id, "download"])).await?;
    let objects = answer.json::<Listed>()?.objects;
    check_names(&objects)?;
    // The name has the export's id, so a later download of the same export finds its files and
    // resumes.
    let beside = with_suffix(folder, &format!(".{id}.part"));
    create_own_folder(&beside)?;
    let _lock = lock(&beside)?;

    let (manifest, others): (Vec<Object>, Vec<Object>) =
        objects.into_iter().partition(|object| object.name == MANIFEST_ENTRY);
    let [object] = &manifest[..] else {
        bail!("the export has no {MANIFEST_ENTRY}, so it cannot be verified")
    };
    let path = beside.join(MANIFEST_ENTRY);
    let wanted =
        Wanted { export, object: Some(MANIFEST_ENTRY), bytes: object.bytes, sha256, is_resumable: true };
    // Small, so it is always fetched again: all other files are verified against it.
    fetch(client, &wanted, &path, bar).await?.rename(&path, true)?;
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| ClientError::Checksum(format!("{MANIFEST_ENTRY} is not a manifest: {error}")))?;
    let files: BTreeMap<String, VehicleManifest> =
        manifest.vehicles.into_iter().map(|vehicle| (vehicle.entry.clone(), vehicle)).collect();
    for object in &others {
        fetch_one(client, export, object, &beside, files.get(&object.name), bar).await?;
    }
    sync_folder(&beside);
    rename_folder(&beside, folder, may_replace)
        .with_context(|| format!("cannot rename {} to {}", beside.display(), folder.display()))?;
    sync_folder(folder_of(folder));
    Ok(())
}

/// Creates the temporary folder, or accepts the one of an earlier download, but not a link.
fn create_own_folder(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    fs::create_dir_all(folder_of(folder)).with_context(|| format!("cannot create {shown}"))?;
    match fs::create_dir(folder) {
        Err(_) if folder.symlink_metadata().is_ok_and(|found| found.is_dir()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{shown} exists and is not a folder; move it away, or give another name")
        }
        created => created.with_context(|| format!("cannot create {shown}")),
    }
}

/// Names of objects become names of files: each must be a single path component, and no two the
/// same.
fn check_names(objects: &[Object]) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for Object { name, .. } in objects {
        let mut parts = Path::new(name).components();
        let is_one = matches!(parts.next(), Some(Component::Normal(part)) if part == name.as_str())
            && parts.next().is_none();
        if !is_one || name.contains(['/', '\\', '\0']) || !names.insert(name) {
            bail!("the service sent {:?}, which is not accepted as the name of a file", sanitized(name));
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
    bar: &TransferBar,
) -> anyhow::Result<()> {
    let path = folder.join(&object.name);
    let before = bar.position();
    let found = path.symlink_metadata();
    let is_there = found.is_ok_and(|found| found.is_file() && found.len() == object.bytes);
    if !is_there || fault(&path, object, file).await?.is_some() {
        let sha256 = object.sha256.as_deref();
        let wanted =
            Wanted { export, object: Some(&object.name), bytes: object.bytes, sha256, is_resumable: true };
        let mut part = fetch(client, &wanted, &path, bar).await?;
        let whole = part.whole()?.to_owned();
        if let Some(fault) = fault(&whole, object, file).await? {
            part.discard()?;
            return Err(ClientError::Checksum(fault).into());
        }
        part.rename(&path, true)?;
    }
    bar.set_position(before + object.bytes);
    Ok(())
}

/// Verifies a file on a blocking thread, so that signals are still handled.
async fn fault(
    path: &Path,
    object: &Object,
    file: Option<&VehicleManifest>,
) -> anyhow::Result<Option<String>> {
    let (path, name, sha256, file) =
        (path.to_owned(), object.name.clone(), object.sha256.clone(), file.cloned());
    let checked =
        tokio::task::spawn_blocking(move || verify::fault(&path, &name, sha256.as_deref(), file.as_ref()));
    checked.await.context("verifying a file panicked")?
}

/// Locks the folder against other downloads for as long as the returned file is open.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let opened = File::open(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    match opened.try_lock() {
        Err(TryLockError::WouldBlock) => {
            bail!("{} is being written by another download; wait for it", folder.display())
        }
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(opened),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(names: &[&str]) -> anyhow::Result<()> {
        let object = |name: &&str| Object { name: (*name).to_owned(), bytes: 0, sha256: None };
        check_names(&names.iter().map(object).collect::<Vec<_>>())
    }

    #[test]
    fn d6_a_link_in_place_of_the_folder_is_not_followed() {
        let parent = tempfile::tempdir().expect("a folder");
        let (precious, beside) = (parent.path().join("precious"), parent.path().join("x.part"));
        fs::create_dir(&precious).expect("a folder");
        std::os::unix::fs::symlink(&precious, &beside).expect("a link");
        let error = create_own_folder(&beside).expect_err("a link").to_string();
        assert!(error.contains("move it away"), "{error}");
        let nested = parent.path().join("a/b.part");
        create_own_folder(&nested).and_then(|()| create_own_folder(&nested)).expect("created once");
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
