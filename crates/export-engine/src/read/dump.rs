//! A mongodump folder as a source of hour documents: `dump/vehicle_001/speed.bson`, uncompressed or
//! `.gz`.

mod documents;
mod file;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use percent_encoding::percent_decode_str;

use documents::{Listed, Streamed};
use file::{Order, examine};

/// A folder as mongodump writes it: a folder per database, a file per collection.
#[derive(Debug)]
pub struct DumpSource {
    folder: PathBuf,
    vehicles: Vec<VehicleId>,
    left_out: Vec<PathBuf>,
}

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
    fn reading(path: &Path, position: u64) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| match source.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                Self::NotUnpacked { path: path.to_owned(), position, source }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}

impl From<DumpError> for SourceError {
    fn from(error: DumpError) -> Self {
        Self::new(error)
    }
}

impl DumpSource {
    /// Lists the folder. Vehicles are the databases whose names begin with `prefix`.
    pub fn open(folder: &Path, prefix: &str) -> Result<Self, DumpError> {
        let mut dump = Self { folder: folder.to_owned(), vehicles: Vec::new(), left_out: Vec::new() };
        for path in entries(folder)? {
            let name = path.file_name().unwrap_or_default();
            if !name.to_string_lossy().starts_with(prefix) || !path.is_dir() {
                continue;
            }
            match name.to_str().and_then(|name| name.parse().ok()) {
                Some(vehicle) => dump.vehicles.push(vehicle),
                None => dump.left_out.push(path),
            }
        }
        if dump.vehicles.is_empty() {
            return Err(DumpError::NoVehicles { folder: folder.to_owned(), prefix: prefix.to_owned() });
        }
        dump.vehicles.sort();
        for vehicle in &dump.vehicles {
            let files = bson_files(&dump.folder_of(vehicle))?;
            for (path, name) in files {
                match name {
                    Some(name) if usable(&name).is_some() || is_of_server(&name) => {}
                    _ => dump.left_out.push(path),
                }
            }
        }
        Ok(dump)
    }

    /// Folders and files with names that no vehicle or parameter can have. They are not exported,
    /// so show them to the user.
    pub fn left_out(&self) -> &[PathBuf] {
        &self.left_out
    }

    fn folder_of(&self, vehicle: &VehicleId) -> PathBuf {
        self.folder.join(vehicle.as_str())
    }

    fn collections(&self, vehicle: &VehicleId) -> Result<Vec<(Parameter, PathBuf)>, DumpError> {
        let files = bson_files(&self.folder_of(vehicle))?;
        let mut collections: Vec<(Parameter, PathBuf)> =
            files.into_iter().filter_map(|(path, name)| Some((usable(&name?)?, path))).collect();
        collections.sort();
        match collections.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(DumpError::Twice { path: pair[0].1.clone(), other: pair[1].1.clone() }),
            None => Ok(collections),
        }
    }
}

impl Source for DumpSource {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        Ok(self.vehicles.clone())
    }

    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        let names = |vehicle| -> Result<_, SourceError> {
            Ok(self.collections(vehicle)?.into_iter().map(|(parameter, _)| parameter).collect())
        };
        vehicles.iter().map(names).collect()
    }

    fn open<'a>(
        &'a self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        let collections = self.collections(vehicle)?;
        let found = collections.into_iter().find(|(name, _)| name == parameter);
        let Some((_, path)) = found else {
            let path = self.folder_of(vehicle).join(format!("{parameter}.bson"));
            return Err(DumpError::Io { path, source: io::ErrorKind::NotFound.into() }.into());
        };
        if is_compressed(&path) {
            return Ok(Box::new(Streamed::compressed(path, documents)?));
        }
        Ok(match examine(&path, documents)? {
            Order::Ascending(stretch) => Box::new(Streamed::plain(path, documents, stretch)?),
            Order::Other(places) => Box::new(Listed::new(path, places)?),
        })
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, DumpError> {
    let found = fs::read_dir(folder).map_err(DumpError::io(folder))?;
    let paths = found.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(DumpError::io(folder))?;
    paths.sort();
    Ok(paths)
}

/// The collections of a folder: path, and name unless it is not UTF-8. mongodump writes characters
/// that file names cannot have as `%2F`.
fn bson_files(folder: &Path) -> Result<Vec<(PathBuf, Option<String>)>, DumpError> {
    let named = entries(folder)?.into_iter().filter_map(|path| {
        let file_name = path.file_name()?.to_string_lossy().into_owned();
        let stem = file_name.strip_suffix(".gz").unwrap_or(&file_name).strip_suffix(".bson")?;
        let is_text = path.file_name()?.to_str().is_some();
        let name = percent_decode_str(stem).decode_utf8().ok().filter(|_| is_text);
        let name = name.map(std::borrow::Cow::into_owned);
        Some((path, name))
    });
    Ok(named.collect())
}

fn usable(name: &str) -> Option<Parameter> {
    name.parse().ok()
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// Whether the collection belongs to the server itself.
fn is_of_server(name: &str) -> bool {
    name.starts_with("system.")
}
