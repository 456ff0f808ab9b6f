//! A partial download: `FILE.part`, and beside it `FILE.part.json`, which says of what file the
//! bytes are.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use export_core::digest::hex;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Most bytes of a mark: more than any name of an object needs.
const MAX_MARK_BYTES: u64 = 64 << 10;

/// What file the bytes of a part belong to. Bytes are appended only while no field differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The job's id.
    pub(super) export: String,
    /// The object's name; `None` for a zip, which is the job's only file.
    pub(super) object: Option<String>,
    /// The strong `ETag` of the answer that the bytes are from, if it had one.
    pub(super) etag: Option<String>,
}

/// An open part, locked against other programs.
pub(super) struct Part {
    path: PathBuf,
    mark_path: PathBuf,
    file: File,
    bytes: u64,
    sha256: Sha256,
    mark: Option<Mark>,
}

impl Part {
    /// Opens or creates the part of this file. Bytes that an earlier download of the same object
    /// left are kept.
    pub(super) fn open(target: &Path, export: &str, object: Option<&str>) -> anyhow::Result<Self> {
        let (path, mark_path) = (with_suffix(target, ".part"), with_suffix(target, ".part.json"));
        let shown = path.display();
        let file = open_own(&path, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("{shown} is being written by another download; wait for it, or give another name")
            }
            // Some file systems have no locks.
            Err(TryLockError::Error(error)) => tracing::debug!(%error, "cannot lock the part"),
        }
        let mark = read_own(&mark_path);
        let is_foreign = mark.is_none() && file.metadata().is_ok_and(|found| found.len() > 0);
        if is_foreign {
            bail!("{shown} exists and was not written by this program; move it away, or give another name");
        }
        let mark = mark.and_then(|text| serde_json::from_slice::<Mark>(&text).ok());
        let mark = mark.filter(|mark| mark.export == export && mark.object.as_deref() == object);
        let mut part = Self { path, mark_path, file, bytes: 0, sha256: Sha256::new(), mark };
        if part.mark.is_some() {
            part.hash_existing_bytes().with_context(|| format!("cannot read {}", part.path.display()))?;
        } else {
            part.restart()?;
        }
        Ok(part)
    }

    fn hash_existing_bytes(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let read = self.file.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.sha256.update(&buffer[..read]);
            self.bytes += read as u64;
        }
    }

    /// Deletes all bytes.
    pub(super) fn restart(&mut self) -> anyhow::Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|error| self.unwritable(&error))?;
        (self.bytes, self.sha256, self.mark) = (0, Sha256::new(), None);
        Ok(())
    }

    /// Stores what file the following bytes belong to. Called before they are appended.
    pub(super) fn set_mark(&mut self, mark: Mark) -> anyhow::Result<()> {
        let text = serde_json::to_vec(&mark).context("cannot encode the mark of a part")?;
        let shown = self.mark_path.display();
        // A new file: whatever has this name is removed and not written to.
        remove(&self.mark_path).with_context(|| format!("cannot replace {shown}"))?;
        let created = OpenOptions::new().write(true).create_new(true).open(&self.mark_path);
        created
            .and_then(|mut file| file.write_all(&text))
            .with_context(|| format!("cannot write {shown}"))?;
        self.mark = Some(mark);
        Ok(())
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_all(bytes).map_err(|error| self.unwritable(&error))?;
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn unwritable(&self, error: &io::Error) -> anyhow::Error {
        let advice = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge | io::ErrorKind::QuotaExceeded => {
                "; free some space and repeat the same command"
            }
            _ => "",
        };
        anyhow::anyhow!("cannot write {}: {error}{advice}", self.path.display())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The strong `ETag` of the existing bytes.
    pub(super) fn etag(&self) -> Option<&str> {
        self.mark.as_ref()?.etag.as_deref().filter(|_| self.bytes > 0)
    }

    /// SHA-256 of all bytes so far, in hex.
    pub(super) fn sha256(&self) -> String {
        hex(&self.sha256.clone().finalize())
    }

    /// Flushes all bytes to the disk and returns the path.
    pub(super) fn whole(&mut self) -> anyhow::Result<&Path> {
        // Some file systems report a full disk only here.
        self.file.sync_all().map_err(|error| self.unwritable(&error))?;
        Ok(&self.path)
    }

    /// Renames the complete part to its final path.
    pub(super) fn rename(&mut self, target: &Path, may_replace: bool) -> anyhow::Result<()> {
        let path = self.whole()?.to_owned();
        let renamed = if may_replace { fs::rename(&path, target) } else { rename_to_new(&path, target) };
        renamed.with_context(|| format!("cannot rename {} to {}", path.display(), target.display()))?;
        remove(&self.mark_path).ok();
        Ok(())
    }

    /// Deletes the part, because its bytes are wrong.
    pub(super) fn discard(self) -> anyhow::Result<()> {
        let removed = remove(&self.mark_path).and_then(|()| remove(&self.path));
        removed.with_context(|| format!("cannot delete {}", self.path.display()))
    }
}

/// Opens a file that only this program writes to. In a folder that others may write to, the name
/// may be taken by a link to one of the user's files, which must not be overwritten.
fn open_own(path: &Path, options: &mut OpenOptions) -> anyhow::Result<File> {
    let shown = path.display();
    let advice = "move it away, or give another name";
    let is_link = path.symlink_metadata().is_ok_and(|found| found.file_type().is_symlink());
    // Opening fails if the name is a symbolic link, also one that was made after the check above.
    // Without NONBLOCK, opening a pipe would wait for ever.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path);
    let file = match file {
        Err(_) if is_link => bail!("{shown} is a symbolic link, which is not followed; {advice}"),
        opened => opened.with_context(|| format!("cannot create {shown}"))?,
    };
    let found = file.metadata().with_context(|| format!("cannot read {shown}"))?;
    if !found.is_file() || found.nlink() > 1 {
        bail!("{shown} is not an ordinary file with one name; {advice}");
    }
    Ok(file)
}

/// The content of a mark; `None` if there is none.
fn read_own(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = open_own(path, OpenOptions::new().read(true)).ok()?;
    file.take(MAX_MARK_BYTES).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Renames, but fails if the target exists by now.
fn rename_to_new(path: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(path, target) {
        Ok(()) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // Some file systems have no hard links.
        Err(_) if target.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(path, target),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = OsString::from(path);
    text.push(suffix);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn mark(export: &str) -> Mark {
        Mark { export: export.to_owned(), object: None, etag: Some("\"1\"".to_owned()) }
    }

    #[test]
    fn bytes_of_an_earlier_download_are_kept_for_the_same_export_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("export.zip");
        let mut part = Part::open(&target, "a", None).expect("a part");
        part.set_mark(mark("a")).expect("noted");
        part.append(b"ab").expect("written");
        assert!(Part::open(&target, "a", None).is_err(), "one program at a time");
        drop(part);

        let mut part = Part::open(&target, "a", None).expect("a part");
        assert_eq!((part.bytes(), part.etag()), (2, Some("\"1\"")));
        part.append(b"c").expect("written");
        assert_eq!(part.sha256(), SHA256_OF_ABC);
        drop(part);

        let part = Part::open(&target, "b", None).expect("a part");
        assert_eq!((part.bytes(), part.etag()), (0, None));
        drop(part);
        let part = Part::open(&target, "a", Some("x.csv")).expect("a part");
        assert_eq!(part.bytes(), 0);
    }

    /// The name of the part, or of its mark, is taken by a link to one of the user's files.
    #[test]
    fn d6_links_are_not_followed() {
        for name in ["export.zip.part", "export.zip.part.json"] {
            for is_symbolic in [true, false] {
                for text in ["", "precious"] {
                    let folder = tempfile::tempdir().expect("a folder");
                    let precious = folder.path().join("precious");
                    fs::write(&precious, text).expect("a file");
                    let link = folder.path().join(name);
                    if is_symbolic {
                        std::os::unix::fs::symlink(&precious, link).expect("a link");
                    } else {
                        fs::hard_link(&precious, link).expect("a link");
                    }
                    let target = folder.path().join("export.zip");
                    let written = Part::open(&target, "a", None).and_then(|mut part| {
                        part.set_mark(mark("a"))?;
                        part.append(b"abc")
                    });
                    assert_eq!(written.is_err(), name == "export.zip.part", "{name} {is_symbolic}");
                    let kept = fs::read_to_string(&precious).expect("it is there");
                    assert_eq!(kept, text, "{name} {is_symbolic}");
                }
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("export.zip");
        std::os::unix::fs::symlink(folder.path().join("new"), folder.path().join("export.zip.part"))
            .expect("a link");
        let error = Part::open(&target, "a", None).err().expect("refused").to_string();
        assert!(error.contains("is a symbolic link") && error.contains("move it away"), "{error}");
        assert!(!folder.path().join("new").exists());
    }

    #[test]
    fn a_foreign_part_is_not_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("export.zip");
        fs::write(folder.path().join("export.zip.part"), "a browser's").expect("a file");
        let error = Part::open(&target, "a", None).err().expect("refused").to_string();
        assert!(error.contains("move it away"), "{error}");
        assert_eq!(fs::read(folder.path().join("export.zip.part")).expect("it is there"), b"a browser's");
    }

    #[test]
    fn an_existing_file_is_replaced_only_if_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("export.zip");
        let mut part = Part::open(&target, "a", None).expect("a part");
        part.append(b"abc").expect("written");
        fs::write(&target, "mine").expect("a file");
        assert!(part.rename(&target, false).is_err());
        assert_eq!(fs::read(&target).expect("it is there"), b"mine");
        part.rename(&target, true).expect("renamed");
        assert_eq!(fs::read(&target).expect("it is there"), b"abc");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
