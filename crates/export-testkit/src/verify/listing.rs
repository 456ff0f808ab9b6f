//! Lists the content of a result that was found equal, for people.

use std::fmt::{self, Display};

use super::{Entry, MANIFEST_ENTRY};
use crate::reference::{ReferenceFormat, ReferenceRequest};

/// How many lines of the first file with rows a listing shows, the header included.
const SHOWN_LINES: usize = 6;

/// The content of a result that equals the reference.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The files in the order of the archive, or in the given order.
    pub entries: Vec<ListedEntry>,
    /// Name of the first CSV that has rows (else the first one), and its first lines.
    pub sample: Option<(String, Vec<String>)>,
}

/// One line of a listing.
#[derive(Debug, Clone)]
pub struct ListedEntry {
    /// Name of the entry or object.
    pub name: String,
    /// Size of its content, bytes.
    pub size_bytes: u64,
    /// Its size in the archive or as an object, in bytes.
    pub compressed_bytes: u64,
}

pub(super) fn listing(entries: &[Entry], request: &ReferenceRequest) -> Listing {
    let csvs = || {
        let is_csv = request.options.format == ReferenceFormat::Csv;
        entries.iter().filter(move |entry| is_csv && entry.listed.name != MANIFEST_ENTRY)
    };
    let has_rows = |entry: &&Entry| entry.content.split(|byte| *byte == b'\n').count() > 2;
    let shown = csvs().find(has_rows).or_else(|| csvs().next());
    let sample = shown.map(|entry| {
        let text = String::from_utf8_lossy(&entry.content);
        (entry.listed.name.clone(), text.lines().take(SHOWN_LINES).map(str::to_owned).collect())
    });
    Listing { entries: entries.iter().map(|entry| entry.listed.clone()).collect(), sample }
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
