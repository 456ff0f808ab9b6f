//! The data of a run: the same synthetic fleet as a mongodump folder and in MongoDB.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::bench::measure::{self, Output};
use crate::stack::Stack;
use crate::{console, foreground};

/// The fleet is the same at every run.
const SEED: &str = "1";
/// Writing ten times the data on a slow machine.
const WRITE_LIMIT: Duration = Duration::from_mins(30);

/// The size of the data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) vehicles: u32,
    pub(crate) days: u32,
}

impl Size {
    /// Prefix of its vehicles' names: keeps fleets of two sizes, and existing vehicles, apart.
    pub(crate) fn prefix(self) -> String {
        format!("bench_{}x{}_vehicle_", self.vehicles, self.days)
    }
}

/// The data's location and content.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) size: Size,
    /// The folder for files of this run.
    pub(crate) folder: PathBuf,
    /// The mongodump folder.
    pub(crate) dump: PathBuf,
    pub(crate) prefix: String,
    /// First day, `YYYY-MM-DD`.
    pub(crate) start_date: String,
    /// The day after the last.
    pub(crate) end_date: String,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    pub(crate) documents: u64,
    pub(crate) bson_bytes: u64,
    pub(crate) points: u64,
    pub(crate) rows: u64,
    /// The expected result of every contestant.
    pub(crate) expected: Output,
}

impl Data {
    /// Millions of points.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(crate) fn million_points(&self) -> f64 {
        self.points as f64 / 1e6
    }
}

/// Writes the fleet to both places, and gets its figures from the ceiling.
pub(crate) fn prepare(stack: &Stack, size: Size) -> anyhow::Result<Data> {
    let (vehicles, days) = (size.vehicles.to_string(), size.days.to_string());
    let prefix = size.prefix();
    let folder = stack.layout.target.join("bench").join(format!("{vehicles}x{days}"));
    let dump = folder.join("dump");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    console::step(format!("writing a synthetic fleet: {vehicles} vehicles, {days} days"));
    let mut command = stack.command(&stack.programs.find("bench-data")?);
    command.arg(&dump).args(["--vehicles", &vehicles, "--days", &days, "--prefix", &prefix, "--seed", SEED]);
    let written = measure::json(&mut command, WRITE_LIMIT)?;
    let text = |name: &str| {
        written[name].as_str().map(str::to_owned).with_context(|| format!("bench-data says no {name}"))
    };
    let number = |name: &str| written[name].as_i64().with_context(|| format!("bench-data says no {name}"));
    let start_date = text("startDate")?;

    let mut command = stack.command(&stack.programs.cli);
    command.args(["demo", "--tidy", "--single", "--vehicles", &vehicles, "--days", &days]);
    command.args(["--from", &start_date, "--seed", SEED]);
    let log = stack.layout.stack().log("bench-fleet");
    foreground::run_logged(&mut command, WRITE_LIMIT, &log, "exports demo")?;

    let mut command = stack.command(&stack.programs.find("bench-ceiling")?);
    command.arg(&dump);
    let ceiling = measure::json(&mut command, WRITE_LIMIT)?;
    let count = |name: &str| ceiling[name].as_u64().with_context(|| format!("bench-ceiling says no {name}"));
    Ok(Data {
        size,
        folder,
        dump,
        prefix,
        start_date,
        end_date: text("endDate")?,
        from_ms: number("fromMs")?,
        to_ms: number("toMs")?,
        documents: number("documents")?.try_into()?,
        bson_bytes: number("bytes")?.try_into()?,
        points: count("points")?,
        rows: count("rows")?,
        expected: output(&ceiling).context("bench-ceiling says nothing of its result")?,
    })
}

/// A program's report about its CSVs.
pub(crate) fn output(figures: &Value) -> Option<Output> {
    let vehicles = figures["vehicles"].as_array()?.iter().map(|vehicle| {
        Some((
            vehicle["name"].as_str()?.to_owned(),
            (vehicle["csvBytes"].as_u64()?, vehicle["crc32"].as_u64()?),
        ))
    });
    Some(Output {
        csv_bytes: figures["csvBytes"].as_u64()?,
        compressed_bytes: figures["compressedBytes"].as_u64()?,
        vehicles: vehicles.collect::<Option<BTreeMap<_, _>>>()?,
    })
}

/// An error unless the CSVs equal the expected ones, byte for byte.
pub(crate) fn check(expected: &Output, found: &Output, what: &str) -> anyhow::Result<()> {
    ensure!(
        expected.vehicles == found.vehicles,
        "the CSVs of {what} differ from the ceiling's: {:?} instead of {:?} (size and CRC-32)",
        found.vehicles,
        expected.vehicles
    );
    Ok(())
}
