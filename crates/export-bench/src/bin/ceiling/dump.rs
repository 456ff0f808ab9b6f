//! A mongodump folder in memory, with the positions of its documents by hour.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::rows::MAX_COLUMNS;

/// The first columns, for vehicles that have them; the others follow by name.
const FIRST_PARAMETERS: [&str; 5] = ["soc", "speed", "current", "odo", "voltage"];
/// Bytes behind a file's end, so that eight can be loaded at any place in it.
const PADDING_BYTES: usize = 8;
/// Every hour document begins with its length, the type int64, and this name.
const ID_NAME: &[u8] = b"_id\0";

/// One vehicle.
#[derive(Debug)]
pub(crate) struct Vehicle {
    /// Name of its folder.
    pub(crate) name: String,
    /// The first line of its CSV.
    pub(crate) header: String,
    /// Per column, the file's bytes.
    pub(crate) files: Vec<Vec<u8>>,
    /// By time.
    pub(crate) hours: Vec<Hour>,
}

/// The documents of one hour.
#[derive(Debug, Clone)]
pub(crate) struct Hour {
    pub(crate) start_ms: i64,
    /// Per column, the position of its document in its file; empty without one.
    pub(crate) documents: Vec<Range<usize>>,
}

/// Reads every vehicle of a folder.
pub(crate) fn load(folder: &Path) -> anyhow::Result<Vec<Vehicle>> {
    let folders = entries(folder)?;
    let parameters = parameters(&folders)?;
    ensure!(parameters.len() <= MAX_COLUMNS, "{} parameters are more than {MAX_COLUMNS}", parameters.len());
    folders.iter().map(|folder| load_vehicle(folder, &parameters)).collect()
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// The columns that all files have: every parameter of any vehicle.
fn parameters(folders: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut names = BTreeSet::new();
    for folder in folders {
        let files = entries(folder)?;
        let bson = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "bson"));
        names.extend(bson.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())));
    }
    let first = FIRST_PARAMETERS.iter().filter(|name| names.contains(**name)).map(ToString::to_string);
    let mut ordered: Vec<String> = first.collect();
    ordered.extend(names.iter().filter(|name| !FIRST_PARAMETERS.contains(&name.as_str())).cloned());
    Ok(ordered)
}

fn load_vehicle(folder: &Path, parameters: &[String]) -> anyhow::Result<Vehicle> {
    let name = folder.file_name().and_then(|name| name.to_str()).context("a vehicle's name")?.to_owned();
    let mut hours: BTreeMap<i64, Hour> = BTreeMap::new();
    let mut files = Vec::new();
    for (column, parameter) in parameters.iter().enumerate() {
        let path = folder.join(format!("{parameter}.bson"));
        let mut bytes = if path.exists() { fs::read(&path)? } else { Vec::new() };
        let length = bytes.len();
        bytes.resize(length + PADDING_BYTES, 0);
        let mut start = 0;
        while start < length {
            let (start_ms, end) = document(&bytes, start).with_context(|| path.display().to_string())?;
            let hour = hours
                .entry(start_ms)
                .or_insert_with(|| Hour { start_ms, documents: vec![0..0; parameters.len()] });
            hour.documents[column] = start..end;
            start = end;
        }
        files.push(bytes);
    }
    let header = format!("time,{}\n", parameters.join(","));
    Ok(Vehicle { name, header, files, hours: hours.into_values().collect() })
}

/// The hour and the end of the document that begins at this position.
fn document(bytes: &[u8], start: usize) -> anyhow::Result<(i64, usize)> {
    let head = bytes[start..].first_chunk::<17>().context("a document is cut off")?;
    let (length, rest) = head.split_first_chunk::<4>().context("a length")?;
    let end = start + usize::try_from(i32::from_le_bytes(*length))?;
    let id = match rest.strip_prefix(&[0x12]).and_then(|rest| rest.strip_prefix(ID_NAME)) {
        Some(id) => i64::from_le_bytes(id.try_into()?),
        None => bail!("a document does not begin with an int64 _id"),
    };
    ensure!(end > start && end <= bytes.len(), "a document's length is wrong");
    Ok((id, end))
}
