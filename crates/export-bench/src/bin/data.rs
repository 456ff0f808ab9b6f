//! `bench-data`: writes the synthetic fleet as mongodump does, one `<vehicle>/<parameter>.bson` per
//! collection.
//!
//! The data are clean, because the ceiling and the Python exporter assume that.
#![expect(clippy::print_stdout, reason = "the figures of the data are this program's result")]

use std::path::PathBuf;

use anyhow::Context as _;
use chrono::DateTime;
use clap::Parser;
use export_fleet::dump::write_vehicle;
use export_fleet::{FleetSpec, HOUR_MS, Rhythm};
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
    /// Prefix of the vehicles' folders
    #[arg(long, default_value = "vehicle_")]
    prefix: String,
    /// The same seed gives the same data
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
        let size = write_vehicle(&arguments.folder, &vehicle)?;
        documents += size.documents;
        bytes += size.bytes;
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
