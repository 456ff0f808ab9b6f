//! Data to export, and the comparison of results with the reference exporter.

use std::io::Cursor;
use std::iter;

use bson::Document;
use export_testkit::hour::HourBuilder;
use export_testkit::oddities::one_day;
use export_testkit::reference::{ReferenceRequest, export_database};
use export_testkit::verify::compare;
use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::job_document::{key_of, state_of};

/// 2018-11-30T00:00:00Z.
const DAY_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_HOURS: i64 = 24;
/// The length of a text of a bulky vehicle, and the number of texts per MiB of result: each
/// character compresses to six bits.
const TEXT_CHARACTERS: usize = 1_000;
const POINTS_PER_MIB: i64 = 1_400;
/// Points per hour of a long vehicle's parameter.
const POINTS_OF_LONG: i64 = 4;

/// Vehicles in a deployment's database, and the request that exports them all.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Body of `POST /export`.
    pub body: Value,
    request: ReferenceRequest,
}

impl Fleet {
    /// A day of a few vehicles, each with another oddity; some kilobytes.
    pub async fn odd(deployment: &Deployment) -> Self {
        let fleet = one_day();
        deployment.space.insert_fleet(&fleet).await;
        let body = json!({ "startDate": fleet.start_date, "endDate": fleet.end_date });
        let request =
            ReferenceRequest { from_ms: fleet.from_ms, to_ms: fleet.to_ms, ..ReferenceRequest::default() };
        Self { body, request }
    }

    /// A day of vehicles with two parameters and values that do not compress: about 10 bytes of
    /// result for a point. A parameter has `points_per_hour` in each of the 24 hours.
    pub async fn heavy(deployment: &Deployment, vehicles: u16, points_per_hour: u16) -> Self {
        let mut random = fastrand::Rng::with_seed(4);
        let step_ms = HOUR_MS / i64::from(points_per_hour.max(1));
        for vehicle in 0..vehicles {
            for parameter in ["odo", "soc"] {
                let hours = (0..DAY_HOURS).map(|hour| {
                    let hour_ms = DAY_MS + hour * HOUR_MS;
                    let points = (0..i64::from(points_per_hour)).map(|point| {
                        (hour_ms + point * step_ms + random.i64(0..step_ms.max(1)), random.f64() * 1e6)
                    });
                    HourBuilder::new(hour_ms).points(points.collect::<Vec<_>>()).build()
                });
                let hours: Vec<Document> = hours.collect();
                deployment.space.insert_hours(&format!("{vehicle:03}"), parameter, hours).await;
            }
        }
        Self::of_days(1)
    }

    /// A day of one vehicle with text that hardly compresses: about `mib` MiB of result, from few
    /// points. Uploads of 6 MiB and more have parts.
    pub async fn bulky(deployment: &Deployment, mib: u32) -> Self {
        let mut random = fastrand::Rng::with_seed(4);
        let points_per_hour = i64::from(mib) * POINTS_PER_MIB / DAY_HOURS + 1;
        for hour in 0..DAY_HOURS {
            let hour_ms = DAY_MS + hour * HOUR_MS;
            let points = (0..points_per_hour).map(|point| {
                let text: String =
                    iter::repeat_with(|| random.alphanumeric()).take(TEXT_CHARACTERS).collect();
                (hour_ms + point * (HOUR_MS / points_per_hour), text)
            });
            let hour = HourBuilder::new(hour_ms).points(points.collect::<Vec<_>>()).build();
            deployment.space.insert_hours("bulky", "text", vec![hour]).await;
        }
        Self::of_days(1)
    }

    /// `days` days of one vehicle with two parameters and few points in each hour: exporting them
    /// takes many queries.
    pub async fn long(deployment: &Deployment, days: u16) -> Self {
        let mut random = fastrand::Rng::with_seed(4);
        for parameter in ["odo", "soc"] {
            let hours = (0..i64::from(days) * DAY_HOURS).map(|hour| {
                let hour_ms = DAY_MS + hour * HOUR_MS;
                let points = (0..POINTS_OF_LONG).map(|point| (hour_ms + point * 60_000, random.f64() * 1e6));
                HourBuilder::new(hour_ms).points(points.collect::<Vec<_>>()).build()
            });
            let hours: Vec<Document> = hours.collect();
            deployment.space.insert_hours("long", parameter, hours).await;
        }
        Self::of_days(days)
    }

    fn of_days(days: u16) -> Self {
        let to_ms = DAY_MS + i64::from(days) * DAY_HOURS * HOUR_MS;
        let end = bson::DateTime::from_millis(to_ms).try_to_rfc3339_string().unwrap_or_default();
        let body = json!({ "startDate": "2018-11-30", "endDate": end.split('T').next() });
        Self { body, request: ReferenceRequest { from_ms: DAY_MS, to_ms, ..ReferenceRequest::default() } }
    }

    /// Waits for the job's end; it must be FINISHED, and its object equal to the reference export
    /// of the same data. Returns the job.
    pub async fn exported(&self, deployment: &Deployment, job_id: &str) -> Document {
        let job = deployment.until(job_id, |job| !matches!(state_of(job), "NOT_STARTED" | "STARTED")).await;
        assert_eq!(state_of(&job), "FINISHED", "{job:#}");
        let archive = deployment.space.object(&key_of(&job)).await;
        let (client, prefix) = (&deployment.space.mongodb, &deployment.space.vehicle_prefix);
        let reference = export_database(client, prefix, &self.request).await;
        let reference = reference.unwrap_or_else(|error| panic!("no reference export: {error}"));
        if let Err(differences) = compare(Cursor::new(archive), &self.request, &reference) {
            panic!("the archive of {job_id} is not the reference's: {differences}");
        }
        job
    }
}
