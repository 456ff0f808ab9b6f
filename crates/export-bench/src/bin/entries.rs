//! `bench-entries`: sizes and checksums of a zip's entries, from its directory, so that results can
//! be compared.
#![expect(clippy::print_stdout, reason = "the listing is this program's result")]

use std::fs::File;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use serde_json::{Value, json};
use zip::ZipArchive;

/// Lists a zip's CSV entries as JSON
#[derive(Debug, Parser)]
struct Arguments {
    /// The zip
    file: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let path = Arguments::parse().file;
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    let mut archive = ZipArchive::new(file).with_context(|| path.display().to_string())?;
    let (mut csv_bytes, mut compressed_bytes) = (0, 0);
    let mut vehicles: Vec<Value> = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        // The manifest is not a vehicle.
        let name = entry.name()?;
        let Some(name) = name.strip_suffix(".csv") else { continue };
        csv_bytes += entry.size();
        compressed_bytes += entry.compressed_size();
        vehicles.push(json!({ "name": name, "csvBytes": entry.size(), "crc32": entry.crc32() }));
    }
    println!(
        "{}",
        json!({ "csvBytes": csv_bytes, "compressedBytes": compressed_bytes, "vehicles": vehicles })
    );
    Ok(())
}
