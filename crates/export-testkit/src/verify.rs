//! Is this archive the export that it should be? Byte by byte against the reference, manifest included.

use std::fmt::{self, Display};
use std::io::{Read, Seek};

use serde_json::Value;
use zip::ZipArchive;

use crate::reference::{ReferenceExport, ReferenceRequest, ReferenceVehicle};

mod manifest;

/// How many lines of the first file with rows a listing shows, the header included.
const SHOWN_LINES: usize = 6;

/// Name of the last entry.
const MANIFEST_ENTRY: &str = "manifest.json";

/// What is in an archive that was found equal to the reference.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The entries in the order of the archive.
    pub entries: Vec<ListedEntry>,
    /// Name of the first file that has rows (else the first file), and its first lines.
    pub sample: Option<(String, Vec<String>)>,
}

/// One line of a listing.
#[derive(Debug, Clone)]
pub struct ListedEntry {
    /// Name of the entry.
    pub name: String,
    /// Size of its content, bytes.
    pub size_bytes: u64,
    /// What it takes in the archive, bytes.
    pub compressed_bytes: u64,
}

/// Everything in which an archive differs from the reference, one sentence each; never empty.
#[derive(Debug, Clone)]
pub struct Differences(pub Vec<String>);

/// An entry as read, its CRC-32 checked.
struct Entry {
    listed: ListedEntry,
    crc32: u32,
    content: Vec<u8>,
}

/// Compares an archive with the reference export of the same request: names and order of the entries, every file byte
/// for byte, CRCs, and the manifest's numbers. Reads the whole archive into memory.
pub fn compare(
    archive: impl Read + Seek,
    request: &ReferenceRequest,
    expected: &ReferenceExport,
) -> Result<Listing, Differences> {
    let entries = read(archive).map_err(|error| Differences(vec![error]))?;
    let mut differences = Vec::new();

    let names: Vec<&str> = entries.iter().map(|entry| entry.listed.name.as_str()).collect();
    let mut expected_names: Vec<String> = expected.vehicles.iter().map(ReferenceVehicle::file_name).collect();
    expected_names.push(MANIFEST_ENTRY.to_owned());
    if names != expected_names {
        differences.push(format!("entries: expected {expected_names:?}, got {names:?}"));
    }

    let entry_of = |name: &str| entries.iter().find(|entry| entry.listed.name == name);
    for vehicle in &expected.vehicles {
        if let Some(entry) = entry_of(&vehicle.file_name())
            && let Some(difference) = first_difference(&vehicle.csv, &entry.content)
        {
            differences.push(format!("vehicle {}: {difference}", vehicle.database));
        }
    }
    if let Some(entry) = entry_of(MANIFEST_ENTRY) {
        match serde_json::from_slice::<Value>(&entry.content) {
            Ok(found) => {
                let crc32_of = |name: &str| entry_of(name).map(|entry| entry.crc32);
                differences.extend(manifest::differences(&found, request, expected, crc32_of));
            }
            Err(error) => differences.push(format!("{MANIFEST_ENTRY} is no JSON: {error}")),
        }
    }

    if differences.is_empty() { Ok(listing(entries)) } else { Err(Differences(differences)) }
}

/// Reads every entry to its end, which also checks its CRC.
fn read(archive: impl Read + Seek) -> Result<Vec<Entry>, String> {
    let mut archive = ZipArchive::new(archive).map_err(|error| format!("this is no zip archive: {error}"))?;
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(|error| format!("entry {index}: {error}"))?;
        let name = file.name().map_err(|error| format!("entry {index} has no name: {error}"))?.into_owned();
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|error| format!("entry {name}: {error}"))?;
        entries.push(Entry {
            listed: ListedEntry { name, size_bytes: file.size(), compressed_bytes: file.compressed_size() },
            crc32: file.crc32(),
            content,
        });
    }
    Ok(entries)
}

/// Where two texts part, with the number of the line counted from 1; `None` when they are equal.
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

fn listing(entries: Vec<Entry>) -> Listing {
    let csvs = || entries.iter().filter(|entry| entry.listed.name != MANIFEST_ENTRY);
    let has_rows = |entry: &&Entry| entry.content.split(|byte| *byte == b'\n').count() > 2;
    let shown = csvs().find(has_rows).or_else(|| csvs().next());
    let sample = shown.map(|entry| {
        let text = String::from_utf8_lossy(&entry.content);
        (entry.listed.name.clone(), text.lines().take(SHOWN_LINES).map(str::to_owned).collect())
    });
    Listing { entries: entries.into_iter().map(|entry| entry.listed).collect(), sample }
}

impl Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0).max("entry".len());
        writeln!(f, "{:width$}  {:>14}  {:>14}", "entry", "bytes", "compressed")?;
        for entry in &self.entries {
            writeln!(f, "{:width$}  {:>14}  {:>14}", entry.name, entry.size_bytes, entry.compressed_bytes)?;
        }
        if let Some((name, lines)) = &self.sample {
            writeln!(f, "\n{name}")?;
            for line in lines {
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}

impl Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Differences {}
