//! Writes a vehicle into a folder in the format of `mongodump`. The only module of this crate that
//! touches files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::Vehicle;

/// The size of a written dump.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DumpSize {
    /// Hour documents.
    pub documents: u64,
    /// Bytes of all documents.
    pub bytes: u64,
}

/// Writes `folder/<vehicle>/<parameter>.bson`, hour by hour, and overwrites existing files. Errors
/// name the file.
pub fn write_vehicle(folder: &Path, vehicle: &Vehicle) -> io::Result<DumpSize> {
    let folder = folder.join(vehicle.database());
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let mut files: BTreeMap<&str, BufWriter<File>> = BTreeMap::new();
    let mut size = DumpSize::default();
    for hour_document in vehicle.hours().flat_map(|hour| hour.documents) {
        let parameter = hour_document.parameter;
        let path = folder.join(format!("{parameter}.bson"));
        if !files.contains_key(parameter) {
            files.insert(parameter, BufWriter::new(File::create(&path).map_err(at(&path))?));
        }
        let document = hour_document.document.as_bytes();
        if let Some(file) = files.get_mut(parameter) {
            file.write_all(document).map_err(at(&path))?;
        }
        size.documents += 1;
        size.bytes += document.len() as u64;
    }
    for file in files.values_mut() {
        file.flush().map_err(at(&folder))?;
    }
    Ok(size)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
