//! The metadata that mongodump writes beside each collection: `<name>.metadata.json`, or `.gz`.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

/// Largest metadata file that is read, unpacked. It holds a collection's options and indexes, of
/// which a server allows 64.
const MAX_METADATA_BYTES: u64 = 4 << 20;

/// The fields that matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    /// Written since mongodump 100.
    #[serde(rename = "collectionName")]
    collection_name: Option<String>,
    /// `collection`, `view` or `timeseries`; older versions leave it out.
    #[serde(rename = "type")]
    kind: Option<String>,
    options: Option<Options>,
    indexes: Option<Vec<Index>>,
}

#[derive(Debug, Deserialize)]
struct Options {
    #[serde(rename = "viewOn")]
    view_on: Option<serde_json::Value>,
    timeseries: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Index {
    /// Database and collection; servers before 4.4 say so.
    ns: Option<String>,
}

impl Metadata {
    /// Reads a file; `None` if it cannot be read or is no metadata.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let bytes = read_bounded(path).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The collection's name, unless the file has none.
    pub(super) fn name(&self) -> Option<&str> {
        let own = self.collection_name.as_deref().filter(|name| !name.is_empty());
        own.or_else(|| {
            let namespace = self.indexes.as_ref()?.iter().find_map(|index| index.ns.as_deref())?;
            // The name of a database has no dot.
            namespace.split_once('.').map(|(_, name)| name).filter(|name| !name.is_empty())
        })
    }

    pub(super) fn is_time_series(&self) -> bool {
        self.kind.as_deref() == Some("timeseries")
            || self.options.as_ref().is_some_and(|options| options.timeseries.is_some())
    }

    pub(super) fn is_view(&self) -> bool {
        self.kind.as_deref() == Some("view")
            || self.options.as_ref().is_some_and(|options| options.view_on.is_some())
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut reader: Box<dyn Read> = if super::is_compressed(path) {
        Box::new(MultiGzDecoder::new(BufReader::new(file)))
    } else {
        Box::new(file)
    };
    let mut bytes = Vec::new();
    reader.by_ref().take(MAX_METADATA_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_METADATA_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}
