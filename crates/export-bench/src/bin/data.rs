//! `bench-data`: writes the synthetic fleet as mongodump does, one `<vehicle>/<parameter>.bson` per collection.
//!
//! The fleet is the healthy one, since the ceiling and the Python peer take clean data for granted.
#![expect(clippy::print_stdout, reason = "the figures of the data are this program's result")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::DateTime;
use clap::Parser;
use export_fleet::{FleetSpec, HOUR_MS, Rhythm, Vehicle};
use serde_json::json;

/// 2018-11-30T00:00:00Z, where the demo's fleet begins too.
const FIRST_HOUR_MS: i64 = 1_543_536_000_000;

/// Writes a synthetic fleet as a mongodump folder
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder that gets a folder per vehicle
    folder: PathBuf,
    /// How many vehicles to make
    #[arg(long, default_value_t = 4)]
    vehicles: usize,
    /// How many days of data each has
    #[arg(long, default_value_t = 4)]
    days: u32,
    /// What the vehicles' folders begin with
    #[arg(long, default_value = "vehicle_")]
    prefix: String,
    /// Picks the fleet: the same seed gives the same data
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Two values in most messages: fewer rows, which compress less
    #[arg(long)]
    paired: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let fleet = FleetSpec {
        seed: arguments.seed,
        vehicles: arguments.vehicles,
        first_hour_ms: FIRST_HOUR_MS,
        hours: arguments.days * 24,
        vehicle_prefix: arguments.prefix.clone(),
        oddities: false,
        rhythm: if arguments.paired { Rhythm::Paired } else { Rhythm::Single },
    };
    let (mut documents, mut bytes) = (0, 0);
    for vehicle in fleet.vehicles() {
        let (vehicle_documents, vehicle_bytes) = write_vehicle(&arguments.folder, &vehicle)?;
        documents += vehicle_documents;
        bytes += vehicle_bytes;
    }
    let to_ms = FIRST_HOUR_MS + i64::from(fleet.hours) * HOUR_MS;
    let figures = json!({
        "documents": documents,
        "bytes": bytes,
        "fromMs": FIRST_HOUR_MS,
        "toMs": to_ms,
        "startDate": date(FIRST_HOUR_MS)?,
        "endDate": date(to_ms)?,
    });
    println!("{figures}");
    Ok(())
}

fn date(time_ms: i64) -> anyhow::Result<String> {
    let time = DateTime::from_timestamp_millis(time_ms).context("the fleet ends beyond every calendar")?;
    Ok(time.format("%Y-%m-%d").to_string())
}

/// Returns how many documents and bytes were written.
fn write_vehicle(folder: &Path, vehicle: &Vehicle) -> anyhow::Result<(u64, u64)> {
    let folder = folder.join(vehicle.database());
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut files = BTreeMap::new();
    let (mut documents, mut bytes) = (0, 0);
    for hour_document in vehicle.hours().flat_map(|hour| hour.documents) {
        let file = match files.entry(hour_document.parameter) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let path = folder.join(format!("{}.bson", hour_document.parameter));
                entry.insert(BufWriter::new(File::create(&path).with_context(|| path.display().to_string())?))
            }
        };
        let document = hour_document.document.as_bytes();
        file.write_all(document)?;
        documents += 1;
        bytes += document.len() as u64;
    }
    for file in files.values_mut() {
        file.flush()?;
    }
    Ok((documents, bytes))
}
