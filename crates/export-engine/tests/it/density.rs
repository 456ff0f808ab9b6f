//! Rows of the synthetic fleet, estimated from a sample as the catalog takes it, against exports.

use std::collections::BTreeMap;

use bson::{RawBsonRef, RawDocument};
use export_core::density::{DocumentCount, SampledSizes, VehicleDensity, sampled_hours};
use export_core::estimate::{Coverage, MeasuredAmount, VehicleAmount, estimate};
use export_core::range::HOUR_MS;
use export_core::request::ExportRequest;
use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use export_engine::plan;
use export_fleet::{FleetSpec, Rhythm};
use serde_json::{Value, json};

use crate::harness::{List, Run};

const START_MS: i64 = 1_543_536_000_000;

/// The documents of each vehicle and parameter, by hour.
struct Fleet(BTreeMap<VehicleId, BTreeMap<Parameter, BTreeMap<i64, Vec<u8>>>>);

impl Fleet {
    fn of(spec: &FleetSpec) -> Self {
        let mut fleet = BTreeMap::new();
        for vehicle in spec.vehicles() {
            let mut parameters: BTreeMap<Parameter, BTreeMap<i64, Vec<u8>>> = BTreeMap::new();
            for hour in vehicle.hours() {
                for part in hour.documents {
                    let by_hour = parameters.entry(part.parameter.parse().expect("a parameter")).or_default();
                    by_hour.insert(hour.start_ms, part.document.as_bytes().to_vec());
                }
            }
            fleet.insert(vehicle.database().parse().expect("a vehicle"), parameters);
        }
        Self(fleet)
    }
}

impl Source for Fleet {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        Ok(self.0.keys().cloned().collect())
    }

    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        Ok(vehicles.iter().map(|vehicle| self.0[vehicle].keys().cloned().collect()).collect())
    }

    fn open<'a>(
        &'a self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        let wanted = self.0[vehicle][parameter].range(documents.from_ms()..documents.to_ms());
        Ok(Box::new(List(wanted.map(|(_, document)| document.clone()).collect::<Vec<_>>().into_iter())))
    }
}

type Hours = BTreeMap<i64, Vec<u8>>;

/// What the catalog knows after it has measured the vehicle.
fn measured(parameters: &BTreeMap<Parameter, Hours>) -> (VehicleDensity, Vec<(Parameter, i64, i64)>) {
    let end =
        |hours: &Hours| (*hours.keys().next().expect("hours"), *hours.keys().next_back().expect("hours"));
    let first = parameters.values().map(|hours| end(hours).0).min().expect("parameters");
    let last = parameters.values().map(|hours| end(hours).1).max().expect("parameters");
    let sampled = sampled_hours(first, last);
    let mut sizes = SampledSizes::default();
    for (parameter, hours) in parameters {
        let (from, to) = end(hours);
        let of_hour = |hour: &i64| (*hour, hours.get(hour).map_or(0, Vec::len) as u64);
        let inside = sampled.iter().filter(|hour| (from..=to).contains(*hour));
        sizes.0.insert(parameter.clone(), inside.map(of_hour).collect());
    }
    let counts = parameters.iter().map(|(parameter, hours)| {
        let (first, last) = end(hours);
        let hour_count = u64::try_from((last - first) / HOUR_MS + 1).expect("a count");
        (parameter.clone(), DocumentCount { documents: hours.len() as u64, hours: hour_count })
    });
    let typical = sizes.typical_hour(8 << 20).expect("an hour");
    let times = parameters.iter().map(|(parameter, hours)| {
        let mut times = Vec::new();
        if let Some(document) = hours.get(&typical) {
            let document = RawDocument::from_bytes(document).expect("BSON");
            collect(document.get_document("values").expect("values"), 0, &mut times);
        }
        (parameter.clone(), times)
    });
    let density =
        VehicleDensity::learn(&sampled, &sizes, &counts.collect(), typical, &times.collect()).expect("data");
    let spans = parameters.iter().map(|(name, hours)| (name.clone(), end(hours).0, end(hours).1 + HOUR_MS));
    (density, spans.collect())
}

fn collect(bucket: &RawDocument, base_ms: i64, times: &mut Vec<i64>) {
    for (key, value) in bucket.iter().map(|element| element.expect("BSON")) {
        let Ok(offset_ms) = key.as_str().parse::<i64>() else { continue };
        match value {
            RawBsonRef::Document(child) => {
                if let Ok(values) = child.get_document("values") {
                    collect(values, base_ms + offset_ms, times);
                }
            }
            _ => times.push(base_ms + offset_ms),
        }
    }
}

/// The estimate and the rows that come; the upper bound must be within 25 % of these, and the lower
/// one have this share of them.
fn check(fleet: &Fleet, fields: &Value, low_percent: u64) {
    let mut body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-02" });
    for (name, value) in fields.as_object().expect("fields") {
        body[name] = value.clone();
    }
    let request = ExportRequest::parse(&body).expect("a request");
    let mut amount = MeasuredAmount::default();
    let mut coverage = Coverage::default();
    let is_chosen = |name: &VehicleId| request.vehicles.as_ref().is_none_or(|chosen| chosen.contains(name));
    for (_, parameters) in fleet.0.iter().filter(|(vehicle, _)| is_chosen(vehicle)) {
        let (density, mut spans) = measured(parameters);
        spans.retain(|(name, ..)| request.parameters.as_ref().is_none_or(|chosen| chosen.contains(name)));
        let expected = VehicleAmount::expected(Some(&density), &spans, request.range, &request.output);
        coverage.vehicles += 1;
        coverage.parameter_hours += expected.all_parameter_hours;
        amount.add(&expected);
    }
    let estimate = estimate(&coverage, &amount, request.range, &request.output, &[]);
    let plan = plan(&request, fleet).expect("a plan");
    let rows = Run::default().export(&plan, fleet).expect("an export").manifest.totals.rows;
    let (low, high) = (estimate.rows.low, estimate.rows.high);
    assert!((low..=high).contains(&rows), "{fields}: {rows} rows, {low} to {high}");
    assert!(
        low * 100 >= rows * low_percent && high * 4 <= rows * 5,
        "{fields}: {rows} rows, {low} to {high}"
    );
}

fn spec(hours: u32, rhythm: Rhythm) -> FleetSpec {
    FleetSpec {
        seed: 1,
        vehicles: 3,
        first_hour_ms: START_MS,
        hours,
        vehicle_prefix: "vehicle_".to_owned(),
        oddities: true,
        rhythm,
    }
}

#[test]
fn a13_estimates_of_the_demo_fleet_are_within_a_quarter() {
    for rhythm in [Rhythm::Paired, Rhythm::Single] {
        let fleet = Fleet::of(&spec(48, rhythm));
        for fields in [
            json!({}),
            json!({ "parameters": ["soc"] }),
            json!({ "parameters": ["speed", "odo"] }),
            json!({ "parameters": ["current", "soc", "odo"] }),
            json!({ "vehicles": ["vehicle_002"], "endDate": "2018-12-01" }),
            json!({ "startDate": "2018-11-30T06:00:00Z", "endDate": "2018-11-30T12:00:00Z" }),
            json!({ "startDate": "2018-12-01T16:30:00Z", "endDate": "2018-12-01T21:15:00Z", "parameters": ["speed"] }),
            json!({ "stepMs": 60_000 }),
            json!({ "stepMs": 60_000, "fill": "previous" }),
            json!({ "stepMs": 10_000, "parameters": ["odo", "speed"] }),
        ] {
            check(&fleet, &fields, 75);
        }
    }
}

/// Ten days, of which 48 hours are sampled.
#[test]
fn a13_a_sample_of_a_long_time_estimates_all_of_it() {
    let fleet = Fleet::of(&FleetSpec { vehicles: 1, ..spec(240, Rhythm::Paired) });
    check(&fleet, &json!({ "endDate": "2018-12-10" }), 75);
    // Some hours have no documents, and all of them may be on this day.
    let day = json!({ "startDate": "2018-12-05", "endDate": "2018-12-06", "parameters": ["voltage", "odo"] });
    check(&fleet, &day, 50);
}
