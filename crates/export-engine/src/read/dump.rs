//! A mongodump folder as a source of hour documents: `dump/vehicle_001/speed.bson`, uncompressed or
//! `.gz`.

mod documents;
mod error;
mod file;
mod listing;
mod metadata;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use export_core::source::{HourDocuments, Source, SourceError, VehicleCollections};
use export_core::{Parameter, TimeRange, VehicleId};
use flate2::bufread::GzDecoder;

use documents::{Listed, Streamed};
pub use error::DumpError;
use file::{Order, examine};
use listing::{VehicleFiles, is_dropping};

/// The first bytes of a file that `mongodump --archive` has written.
const ARCHIVE_MAGIC: [u8; 4] = [0x6d, 0xe2, 0x99, 0x81];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Files of a folder without vehicles that are examined: it may hold an archive.
const EXAMINED_FILES: usize = 100;

/// A folder as mongodump writes it: a folder per database, a file per collection. It is listed
/// once, when it is opened.
#[derive(Debug)]
pub struct DumpSource {
    folder: PathBuf,
    vehicles: BTreeMap<VehicleId, VehicleFiles>,
    left_out: Vec<LeftOut>,
}

/// A path of a dump that is not exported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// The file or folder.
    pub path: PathBuf,
    /// Why it is not exported.
    pub reason: LeftOutReason,
}

/// Why a path of a dump is not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOutReason {
    /// No vehicle or parameter can have such a name.
    UnusableName,
    /// Something else than mongodump has put it there, such as a file manager or an editor.
    NotOfDump,
    /// A file of metadata is damaged; the names of the files decide.
    BrokenMetadata,
}

impl DumpSource {
    /// Lists the folder. Vehicles are the databases whose names begin with `prefix`.
    pub fn open(folder: &Path, prefix: &str) -> Result<Self, DumpError> {
        if folder.is_file() {
            check_archive(folder)?;
            return Err(DumpError::NotAFolder { path: folder.to_owned() });
        }
        let mut dump = Self { folder: folder.to_owned(), vehicles: BTreeMap::new(), left_out: Vec::new() };
        let paths = entries(folder)?;
        for path in &paths {
            dump.add(path, prefix)?;
        }
        if dump.vehicles.is_empty() {
            paths
                .iter()
                .filter(|path| path.is_file())
                .take(EXAMINED_FILES)
                .try_for_each(|path| check_archive(path))?;
            return Err(DumpError::NoVehicles { folder: folder.to_owned(), prefix: prefix.to_owned() });
        }
        Ok(dump)
    }

    fn add(&mut self, path: &Path, prefix: &str) -> Result<(), DumpError> {
        let name = path.file_name().unwrap_or_default();
        let left_out = |reason| LeftOut { path: path.to_owned(), reason };
        if is_dropping(&name.to_string_lossy()) {
            self.left_out.push(left_out(LeftOutReason::NotOfDump));
        } else if name.to_string_lossy().starts_with(prefix) {
            // A link that leads nowhere is an error: a vehicle would be missing.
            let is_folder = fs::metadata(path).map_err(DumpError::io(path))?.is_dir();
            match name.to_str().and_then(|name| name.parse().ok()) {
                _ if !is_folder => self.left_out.push(left_out(LeftOutReason::NotOfDump)),
                None => self.left_out.push(left_out(LeftOutReason::UnusableName)),
                Some(vehicle) => {
                    let files = listing::list(path, &mut self.left_out)?;
                    self.vehicles.insert(vehicle, files);
                }
            }
        }
        Ok(())
    }

    /// Paths that are not exported, so show them to the user.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    fn files(&self, vehicle: &VehicleId) -> Result<&VehicleFiles, DumpError> {
        let Some(files) = self.vehicles.get(vehicle) else {
            let path = self.folder.join(vehicle.as_str());
            return Err(DumpError::Io { path, source: std::io::ErrorKind::NotFound.into() });
        };
        match &files.fault {
            Some(fault) => Err(fault.clone().into()),
            None => Ok(files),
        }
    }
}

impl Source for DumpSource {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        Ok(self.vehicles.keys().cloned().collect())
    }

    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        let listed = self.collections(vehicles)?;
        Ok(listed.into_iter().map(|collections| collections.parameters).collect())
    }

    fn collections(&self, vehicles: &[VehicleId]) -> Result<Vec<VehicleCollections>, SourceError> {
        let collections = |vehicle| -> Result<_, SourceError> {
            let files = self.files(vehicle)?;
            let parameters = files.collections.iter().map(|(parameter, _)| parameter.clone()).collect();
            Ok(VehicleCollections { parameters, unread: files.unread.clone() })
        };
        vehicles.iter().map(collections).collect()
    }

    fn open<'a>(
        &'a self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        let collections = &self.files(vehicle)?.collections;
        let found = collections.iter().find(|(name, _)| name == parameter);
        let Some((_, path)) = found else {
            let path = self.folder.join(vehicle.as_str()).join(format!("{parameter}.bson"));
            return Err(DumpError::Io { path, source: std::io::ErrorKind::NotFound.into() }.into());
        };
        let path = path.clone();
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

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// An error if the file is an archive, plain or compressed.
fn check_archive(path: &Path) -> Result<(), DumpError> {
    let start = |reader: &mut dyn Read| {
        let mut bytes = Vec::new();
        reader.take(4).read_to_end(&mut bytes).ok().map(|_| bytes).unwrap_or_default()
    };
    let open = || File::open(path).map_err(DumpError::io(path));
    let plain = start(&mut open()?);
    let is_compressed = plain.starts_with(&GZIP_MAGIC);
    let unpacked = if is_compressed { start(&mut GzDecoder::new(BufReader::new(open()?))) } else { plain };
    if unpacked == ARCHIVE_MAGIC {
        return Err(DumpError::Archive { path: path.to_owned(), is_compressed });
    }
    Ok(())
}
