//! Compares a result with the reference export, byte by byte and including the manifest.
//!
//! Start at [`compare`] for a zip and at [`compare_objects`] for separate files.

use std::fmt::{self, Display};
use std::io::{Read, Seek};

use serde_json::Value;

use crate::reference::{ReferenceExport, ReferenceRequest};

mod coverage;
mod listing;
mod manifest;
mod packing;
mod table;
mod warnings;

pub use listing::{ListedEntry, Listing};
pub use packing::read_folder;

/// Name of the manifest: the last entry of an archive, or an object.
const MANIFEST_ENTRY: &str = "manifest.json";

/// All differences between a result and the reference, one sentence each; never empty.
#[derive(Debug, Clone)]
pub struct Differences(pub Vec<String>);

/// A file of a result after reading: unpacked, its checksums right.
struct Entry {
    listed: ListedEntry,
    /// Of the content.
    crc32: u32,
    content: Vec<u8>,
}

/// Compares an archive with the reference export of the same request: names, order and method of
/// the entries, every CSV byte for byte, every parquet file by types and cells, CRCs, and the
/// manifest's numbers. Reads the whole archive into memory.
pub fn compare(
    archive: impl Read + Seek,
    request: &ReferenceRequest,
    expected: &ReferenceExport,
) -> Result<Listing, Differences> {
    let mut differences = Vec::new();
    let entries = packing::read_zip(archive, &mut differences).map_err(|error| Differences(vec![error]))?;
    let names: Vec<&str> = entries.iter().map(|entry| entry.listed.name.as_str()).collect();
    let expected_names = expected_names(expected);
    if names != expected_names {
        differences.push(format!("entries: expected {expected_names:?}, got {names:?}"));
    }
    compare_entries(&entries, differences, request, expected)
}

/// Compares the objects of an export without archive: (name after the prefix, bytes) in any order.
/// A compressed file must be one gzip member or one zstd frame, because some readers stop after the
/// first. Otherwise like [`compare`].
pub fn compare_objects(
    objects: &[(String, Vec<u8>)],
    request: &ReferenceRequest,
    expected: &ReferenceExport,
) -> Result<Listing, Differences> {
    let mut differences = Vec::new();
    let mut names: Vec<&str> = objects.iter().map(|(name, _)| name.as_str()).collect();
    let mut expected_names = expected_names(expected);
    names.sort_unstable();
    expected_names.sort_unstable();
    if names != expected_names {
        differences.push(format!("objects: expected {expected_names:?}, got {names:?}"));
    }
    let mut entries = Vec::new();
    for (name, bytes) in objects {
        let packed_as = request.options.packed_as();
        match packing::read_object(name, bytes, packed_as) {
            Ok(entry) => entries.push(entry),
            Err(error) => differences.push(format!("object {name}: {error}")),
        }
    }
    compare_entries(&entries, differences, request, expected)
}

fn expected_names(expected: &ReferenceExport) -> Vec<&str> {
    let files = expected.vehicles.iter().map(|vehicle| vehicle.file_name.as_str());
    files.chain([MANIFEST_ENTRY]).collect()
}

/// The content of the files. `differences` are those found while unpacking.
fn compare_entries(
    entries: &[Entry],
    mut differences: Vec<String>,
    request: &ReferenceRequest,
    expected: &ReferenceExport,
) -> Result<Listing, Differences> {
    let entry_of = |name: &str| entries.iter().find(|entry| entry.listed.name == name);
    for vehicle in &expected.vehicles {
        let Some(entry) = entry_of(&vehicle.file_name) else { continue };
        let difference = match &vehicle.table {
            None => first_difference(&vehicle.csv, &entry.content),
            Some(table) => table::difference(table, &expected.columns, &entry.content),
        };
        differences
            .extend(difference.map(|difference| format!("vehicle {}: {difference}", vehicle.database)));
    }
    if let Some(entry) = entry_of(MANIFEST_ENTRY) {
        match serde_json::from_slice::<Value>(&entry.content) {
            Ok(found) => {
                let file_of = |name: &str| {
                    entry_of(name)
                        .map(|entry| manifest::File { bytes: entry.listed.size_bytes, crc32: entry.crc32 })
                };
                differences.extend(manifest::differences(&found, request, expected, file_of));
            }
            Err(error) => differences.push(format!("{MANIFEST_ENTRY} is no JSON: {error}")),
        }
    }
    if differences.is_empty() {
        Ok(listing::listing(entries, request))
    } else {
        Err(Differences(differences))
    }
}

/// The first difference between two texts, with the number of the line counted from 1; `None` when
/// they are equal.
pub fn first_difference(expected: &[u8], found: &[u8]) -> Option<String> {
    if expected == found {
        return None;
    }
    let lines = |text: &[u8]| -> Vec<String> {
        text.split_inclusive(|byte| *byte == b'\n')
            .map(|line| format!("{:?}", String::from_utf8_lossy(line)))
            .collect()
    };
    let (expected, found) = (lines(expected), lines(found));
    let end = "the end of the file".to_owned();
    let longest = expected.len().max(found.len());
    (0..longest)
        .map(|index| (index + 1, expected.get(index).unwrap_or(&end), found.get(index).unwrap_or(&end)))
        .find_map(|(number, expected, found)| {
            (expected != found).then(|| format!("line {number}: expected {expected}, got {found}"))
        })
}

impl Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Differences {}
