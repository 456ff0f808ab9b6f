//! `bench-engine`: the engine alone, from a mongodump folder to a sink that discards everything,
//! with a worker's memory budget per export.
#![expect(clippy::print_stdout, reason = "the figures are this program's result")]

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context as _, anyhow};
use clap::Parser;
use export_bench::usage::{Stopwatch, Usage};
use export_core::manifest::Manifest;
use export_core::request::ExportRequest;
use export_core::sink::Sink;
use export_engine::{DumpSource, Engine, ExportTask, Limits, MemoryBudget, Meter, StopFlag, plan};
use serde::Serialize;
use serde_json::json;

/// A worker's default concurrency, by which its memory is divided.
const EXPORTS_AT_A_TIME: NonZeroUsize = NonZeroUsize::new(2).expect("two");

/// Measures the engine on a dump
#[derive(Debug, Parser)]
struct Arguments {
    /// mongodump folder: `<vehicle>/<parameter>.bson`
    folder: PathBuf,
    /// Prefix of the vehicles' folders
    #[arg(long, default_value = "vehicle_")]
    prefix: String,
    /// First day
    #[arg(long)]
    start_date: String,
    /// The day after the last
    #[arg(long)]
    end_date: String,
    /// Threads; by default as many as there are cores
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

/// The output.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    #[serde(flatten)]
    usage: Usage,
    points: u64,
    rows: u64,
    csv_bytes: u64,
    compressed_bytes: u64,
    vehicles: Vec<VehicleFigures>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VehicleFigures {
    name: String,
    csv_bytes: u64,
    crc32: u32,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let body = json!({ "startDate": arguments.start_date, "endDate": arguments.end_date });
    let request = ExportRequest::parse(&body)
        .map_err(|errors| anyhow!("{}", errors.first().map_or("no request", |error| &error.detail)))?;
    let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = arguments.threads.unwrap_or_else(cores);
    let budget = MemoryBudget::shared_by(MemoryBudget::DEFAULT_MIB << 20, EXPORTS_AT_A_TIME);
    let limits = Limits::of_share(budget.slices_bytes, threads);

    let stopwatch = Stopwatch::start()?;
    let source = DumpSource::open(&arguments.folder, &arguments.prefix)?;
    let plan = plan(&request, &source)?;
    let (meter, stop) = (Meter::default(), StopFlag::default());
    let task = ExportTask { plan: &plan, source: &source, limits, meter: &meter, stop: &stop };
    let exported = Engine::new(threads)?.export(&task, &mut || Ok(Nowhere::default()))?;
    let usage = stopwatch.stop()?;
    println!("{}", serde_json::to_string(&figures(usage, &exported.manifest, &exported.sink)?)?);
    Ok(())
}

fn figures(usage: Usage, manifest: &Manifest, nowhere: &Nowhere) -> anyhow::Result<Figures> {
    let vehicles = manifest.vehicles.iter().map(|vehicle| {
        let crc32 = u32::from_str_radix(&vehicle.crc32, 16).context("a CRC-32 in hexadecimal")?;
        Ok(VehicleFigures { name: vehicle.vehicle.clone(), csv_bytes: vehicle.bytes, crc32 })
    });
    Ok(Figures {
        usage,
        points: manifest.totals.counts.points_read,
        rows: manifest.totals.rows,
        csv_bytes: manifest.totals.bytes,
        compressed_bytes: nowhere.bytes,
        vehicles: vehicles.collect::<anyhow::Result<_>>()?,
    })
}

/// A sink that counts bytes and discards them.
#[derive(Debug, Default)]
struct Nowhere {
    bytes: u64,
}

impl Sink for Nowhere {
    fn begin(&mut self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}
