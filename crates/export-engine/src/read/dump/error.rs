//! Errors of reading a dump.

use std::io;
use std::path::{Path, PathBuf};

use export_core::source::SourceError;

/// Why a dump cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// A file or folder could not be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No folder of the dump belongs to a vehicle.
    #[error(
        "{} has no folder whose name begins with {prefix:?}; give the folder that mongodump has written, which has one folder per database",
        folder.display()
    )]
    NoVehicles {
        /// The folder.
        folder: PathBuf,
        /// The prefix of vehicles' names.
        prefix: String,
    },
    /// The file ends inside a document.
    #[error(
        "{} is cut short: the document at byte {position} has {needed} bytes, and the file has {found} more; make the dump again",
        path.display()
    )]
    CutShort {
        /// The file.
        path: PathBuf,
        /// Where the document begins, counted in uncompressed bytes.
        position: u64,
        /// Length of the document by its own length prefix.
        needed: u64,
        /// Bytes left in the file.
        found: u64,
    },
    /// The length prefix of a document is impossible.
    #[error(
        "{} is damaged: the document at byte {position} would have {length} bytes, which is impossible; make the dump again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the document begins, counted in uncompressed bytes.
        position: u64,
        /// The length prefix.
        length: i64,
    },
    /// A compressed file cannot be decompressed.
    #[error(
        "{} is damaged: it cannot be decompressed from the document at byte {position} on; make the dump again",
        path.display()
    )]
    NotUnpacked {
        /// The file.
        path: PathBuf,
        /// Where the unread document begins, counted in uncompressed bytes.
        position: u64,
        /// The decompressor's error.
        source: io::Error,
    },
    /// The documents of a compressed file are not in order, and reading it in another order would
    /// need seeking.
    #[error(
        "the documents of {} are not ordered by _id, and a compressed file can only be read front to back; decompress it first",
        path.display()
    )]
    Unordered {
        /// The file.
        path: PathBuf,
    },
    /// The path is an archive, not a folder.
    #[error(
        "{} is an archive (mongodump --archive), and only folders can be read: restore it with mongorestore --archive={}{} and export from the server, or dump with mongodump --out=DIR",
        path.display(), path.display(), if *is_compressed { " --gzip" } else { "" }
    )]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Whether it is compressed with gzip.
        is_compressed: bool,
    },
    /// The path is a file.
    #[error(
        "{} is a file; give the folder that mongodump has written, which has one folder per database",
        path.display()
    )]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// mongodump has shortened the name of a file, and the metadata with the whole name is missing
    /// or damaged.
    #[error(
        "the name of {} is shortened, and {} with the whole name is missing or damaged; copy that file too, or make the dump again",
        path.display(), metadata.display()
    )]
    Nameless {
        /// The file of documents.
        path: PathBuf,
        /// The file of metadata, or its compressed form.
        metadata: PathBuf,
    },
    /// Two files hold one collection: `.bson` and `.bson.gz`, or two encodings of one name.
    #[error("{} and {} hold the same collection; remove one of them", path.display(), other.display())]
    Twice {
        /// One file.
        path: PathBuf,
        /// The other file.
        other: PathBuf,
    },
}

impl DumpError {
    /// Wraps an error of reading a document. Decompressors use these two kinds, which the system
    /// does not.
    pub(super) fn reading(path: &Path, position: u64) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| match source.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                Self::NotUnpacked { path: path.to_owned(), position, source }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}

impl From<DumpError> for SourceError {
    fn from(error: DumpError) -> Self {
        Self::new(error)
    }
}
