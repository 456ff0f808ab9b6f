//! The vehicles whose data is exported, written to MongoDB once.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat};
use export_fleet::{FleetSpec, HOUR_MS, Rhythm};
use mongodb::Client;
use mongodb::bson::RawDocumentBuf;

/// 2018-11-30T00:00:00Z, where the demo's fleet begins too.
const FIRST_HOUR_MS: i64 = 1_543_536_000_000;
/// The fleet is the same at every run.
const SEED: u64 = 1;
/// Hours of a vehicle written at a time: a few megabytes.
const HOURS_PER_WRITE: usize = 24;

/// The written fleet.
pub(crate) struct Fleet {
    /// Names of the vehicles, which are databases.
    pub(crate) vehicles: Vec<String>,
    /// Start of the first hour, unix milliseconds.
    pub(crate) first_ms: i64,
    /// Length of the range that has data, in hours.
    pub(crate) hours: u32,
    /// Every document: index of its vehicle, its parameter, its `_id`.
    pub(crate) documents: Vec<(usize, &'static str, i64)>,
}

impl Fleet {
    /// Writes `days` days of `vehicles` vehicles.
    pub(crate) async fn write(
        client: &Client,
        prefix: &str,
        vehicles: usize,
        days: u32,
    ) -> anyhow::Result<Self> {
        let spec = FleetSpec {
            seed: SEED,
            vehicles,
            first_hour_ms: FIRST_HOUR_MS,
            hours: days * 24,
            vehicle_prefix: prefix.to_owned(),
            oddities: false,
            rhythm: Rhythm::Single,
        };
        let mut fleet =
            Self { vehicles: Vec::new(), first_ms: FIRST_HOUR_MS, hours: spec.hours, documents: Vec::new() };
        for (index, vehicle) in spec.vehicles().enumerate() {
            let database = client.database(vehicle.database());
            let mut hours = vehicle.hours().peekable();
            while hours.peek().is_some() {
                let mut by_parameter: BTreeMap<&'static str, Vec<RawDocumentBuf>> = BTreeMap::new();
                for hour in hours.by_ref().take(HOURS_PER_WRITE) {
                    for document in hour.documents {
                        fleet.documents.push((index, document.parameter, hour.start_ms));
                        by_parameter.entry(document.parameter).or_default().push(document.document);
                    }
                }
                for (parameter, documents) in by_parameter {
                    let written =
                        database.collection::<RawDocumentBuf>(parameter).insert_many(documents).await;
                    written.context("the fleet cannot be written")?;
                }
            }
            fleet.vehicles.push(vehicle.database().to_owned());
        }
        Ok(fleet)
    }

    /// Removes the fleet.
    pub(crate) async fn remove(&self, client: &Client) -> anyhow::Result<()> {
        for vehicle in &self.vehicles {
            client.database(vehicle).drop().await?;
        }
        Ok(())
    }

    /// Minutes of data.
    pub(crate) fn minutes(&self) -> usize {
        self.hours as usize * 60
    }

    /// That many minutes after the first hour's start, as requests say it.
    pub(crate) fn time(&self, minute: usize) -> String {
        let minutes = i64::try_from(minute).unwrap_or(i64::MAX);
        let time = DateTime::from_timestamp_millis(self.first_ms + minutes.saturating_mul(HOUR_MS / 60));
        time.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}
