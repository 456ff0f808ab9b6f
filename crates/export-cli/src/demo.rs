//! `exports demo`: writes a synthetic fleet, so that there is something to export.

use std::collections::BTreeMap;

use anyhow::Context;
use export_core::range::parse_bound;
use export_fleet::FleetSpec;
use export_settings::mongo::{MongoArgs, SourceArgs};

/// Hours written at a time, per parameter: a few megabytes.
const HOURS_PER_WRITE: usize = 24;

/// Settings of `exports demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    mongo: MongoArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// How many vehicles to make
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=999), value_name = "COUNT")]
    vehicles: u16,
    /// How many days of data each has
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3660), value_name = "COUNT")]
    days: u32,
    /// The first day, in UTC
    #[arg(long, default_value = "2018-11-30", value_name = "DATE")]
    from: String,
    /// Picks the fleet: the same seed gives the same data
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Leave out the odd documents and points that real data has
    #[arg(long)]
    tidy: bool,
}

impl Demo {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mongo = self.mongo.resolve()?;
        let source = self.source.resolve()?;
        let uri = source.uri.as_ref().unwrap_or(&mongo.uri);
        let client = export_mongo::connect(uri, "exports demo").await?;
        let first_hour_ms = parse_bound(&self.from, chrono_tz::Tz::UTC).context("--from")?;
        let fleet = FleetSpec {
            seed: self.seed,
            vehicles: self.vehicles.into(),
            first_hour_ms,
            hours: self.days * 24,
            vehicle_prefix: source.vehicle_database_prefix,
            oddities: !self.tidy,
            rhythm: export_fleet::Rhythm::Paired,
        };

        for vehicle in fleet.vehicles() {
            let mut hours = vehicle.hours().peekable();
            while hours.peek().is_some() {
                let mut by_parameter: BTreeMap<_, Vec<_>> = BTreeMap::new();
                for document in hours.by_ref().take(HOURS_PER_WRITE).flat_map(|hour| hour.documents) {
                    by_parameter.entry(document.parameter).or_default().push(document.document);
                }
                for (parameter, documents) in by_parameter {
                    client.add_missing_hours(vehicle.database(), parameter, documents).await?;
                }
            }
            println!("{}: {} days from {}", vehicle.database(), self.days, self.from);
        }
        Ok(())
    }
}
