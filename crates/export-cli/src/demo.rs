//! `exports demo`: writes a synthetic fleet to try the service on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use export_core::range::parse_bound;
use export_fleet::dump::write_vehicle;
use export_fleet::{FleetSpec, Rhythm, Vehicle};
use export_settings::mongo::{MongoArgs, SourceArgs};
use export_settings::print::Output;
use export_store::MongoClient;

use crate::failure::UsageError;

/// Hours per write and parameter: a few megabytes.
const HOURS_PER_WRITE: usize = 24;

/// Flags of `exports demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    mongo: MongoArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// Folder to write to instead of MongoDB, in the format of mongodump; must be new or empty
    #[arg(long, value_name = "DIR", help_heading = "Vehicles")]
    dump: Option<PathBuf>,
    /// Number of vehicles
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=999), value_name = "COUNT")]
    vehicles: u16,
    /// Days of data of each vehicle
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3660), value_name = "COUNT")]
    days: u32,
    /// First day, in UTC
    #[arg(long, default_value = "2018-11-30", value_name = "DATE", allow_hyphen_values = true)]
    from: String,
    /// Seed of the random data: the same seed gives the same data
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Leave out the malformed documents and points that real data has
    #[arg(long)]
    tidy: bool,
    /// Write most values at times of their own instead of two per time: more rows for the same
    /// points
    #[arg(long)]
    single: bool,
}

impl Demo {
    pub(crate) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let source = self.source.resolve()?;
        let fleet = FleetSpec {
            seed: self.seed,
            vehicles: self.vehicles.into(),
            first_hour_ms: self.first_hour_ms()?,
            hours: self.days * 24,
            vehicle_prefix: source.vehicle_database_prefix,
            oddities: !self.tidy,
            rhythm: if self.single { Rhythm::Single } else { Rhythm::Paired },
        };
        let mut report = |vehicle: &Vehicle| {
            output.line(&format!("{}: {} days from {}", vehicle.database(), self.days, self.from));
        };
        if let Some(folder) = &self.dump {
            check_empty(folder)?;
            for vehicle in fleet.vehicles() {
                write_vehicle(folder, &vehicle).context("cannot write the dump")?;
                report(&vehicle);
            }
            return Ok(());
        }
        let mongo = self.mongo.resolve()?;
        let client = export_store::connect(source.uri.as_ref().unwrap_or(&mongo.uri), "exports demo").await?;
        for vehicle in fleet.vehicles() {
            insert_vehicle(&client, &vehicle).await?;
            report(&vehicle);
        }
        Ok(())
    }
}

impl Demo {
    fn first_hour_ms(&self) -> Result<i64, UsageError> {
        let bound = parse_bound(&self.from, chrono_tz::Tz::UTC);
        bound.map(|bound| bound.time_ms).map_err(|error| UsageError(format!("--from: {error}")))
    }
}

/// Refuses a folder with files in it: it may hold a dump of real data.
fn check_empty(folder: &Path) -> anyhow::Result<()> {
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(false) => bail!("--dump: {} is not empty; give a new folder", folder.display()),
        Err(error) => Err(error).with_context(|| format!("--dump: cannot use {}", folder.display())),
    }
}

async fn insert_vehicle(client: &MongoClient, vehicle: &Vehicle) -> anyhow::Result<()> {
    let mut hours = vehicle.hours().peekable();
    while hours.peek().is_some() {
        let mut by_parameter: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for document in hours.by_ref().take(HOURS_PER_WRITE).flat_map(|hour| hour.documents) {
            by_parameter.entry(document.parameter).or_default().push(document.document);
        }
        for (parameter, documents) in by_parameter {
            export_source::add_missing_hours(client, vehicle.database(), parameter, documents).await?;
        }
    }
    Ok(())
}
