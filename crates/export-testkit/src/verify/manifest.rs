//! Compares the manifest's numbers with the reference's, by the names that users see.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use serde_json::{Value, json};

use super::{coverage, warnings};
use crate::reference::{ReferenceExport, ReferenceOptions, ReferenceRequest, ReferenceVehicle, Rejections};

/// A file of the result, unpacked.
#[derive(Clone, Copy)]
pub(super) struct File {
    pub(super) bytes: u64,
    pub(super) crc32: u32,
}

/// Every field in which `found` differs. `file_of` returns an existing file by name.
pub(super) fn differences(
    found: &Value,
    request: &ReferenceRequest,
    expected: &ReferenceExport,
    file_of: impl Fn(&str) -> Option<File>,
) -> Vec<String> {
    let mut check = Check { differences: Vec::new() };
    let names: Vec<&str> = expected.vehicles.iter().map(|vehicle| vehicle.database.as_str()).collect();
    check.equal("version", &found["version"], &json!(1));
    check.equal("zoneDataVersion", &found["zoneDataVersion"], &json!(chrono_tz::IANA_TZDB_VERSION));
    check.equal("request.vehicles", &found["request"]["vehicles"], &json!(names));
    check.equal("request.parameters", &found["request"]["parameters"], &json!(expected.parameters));
    check.instant("request.range.from", &found["request"]["range"]["from"], request.from_ms);
    check.instant("request.range.to", &found["request"]["range"]["to"], request.to_ms);
    check.options(&found["request"], &request.options);
    check.renamed(found, request, expected);
    let (list, more) = warnings::of(expected);
    check.equal("warnings", &found["warnings"], &list);
    check.optional("", found, "warningsMore", (more > 0).then(|| json!(more)).as_ref());

    let vehicles = found["vehicles"].as_array().map_or(&[][..], Vec::as_slice);
    check.equal("number of vehicles", &json!(vehicles.len()), &json!(names.len()));
    let files: Vec<Option<File>> =
        expected.vehicles.iter().map(|vehicle| file_of(&vehicle.file_name)).collect();
    for ((found, expected), file) in vehicles.iter().zip(&expected.vehicles).zip(&files) {
        check.vehicle(found, expected, *file);
    }
    check.totals(&found["totals"], &expected.vehicles, &files);
    check.differences
}

/// Uncompressed bytes of a vehicle's file. They are known for a CSV; for a parquet file they are
/// its actual size.
fn bytes(vehicle: &ReferenceVehicle, file: Option<File>) -> Option<u64> {
    match vehicle.table {
        None => Some(vehicle.csv.len() as u64),
        Some(_) => file.map(|file| file.bytes),
    }
}

struct Check {
    differences: Vec<String>,
}

impl Check {
    fn equal(&mut self, field: &str, found: &Value, expected: &Value) {
        if found != expected {
            self.differences.push(format!("manifest, {field}: expected {expected}, got {found}"));
        }
    }

    /// A field that is there only in some manifests.
    fn optional(&mut self, name: &str, parent: &Value, field: &str, expected: Option<&Value>) {
        let shown = |value: Option<&Value>| value.map_or("no such field".to_owned(), Value::to_string);
        let found = parent.get(field);
        if found != expected {
            let (expected, found) = (shown(expected), shown(found));
            self.differences.push(format!("manifest, {name}{field}: expected {expected}, got {found}"));
        }
    }

    fn options(&mut self, found: &Value, options: &ReferenceOptions) {
        const OTHER_FIELDS: [&str; 5] = ["startDate", "endDate", "range", "vehicles", "parameters"];
        let expected = options.fields();
        let found_names = found.as_object().into_iter().flat_map(|fields| fields.keys());
        let names: BTreeSet<&String> = found_names.chain(expected.keys()).collect();
        for name in names.into_iter().filter(|name| !OTHER_FIELDS.contains(&name.as_str())) {
            self.optional("request.", found, name, expected.get(name));
        }
    }

    /// Columns and files that do not have the name of their parameter or vehicle; without any the
    /// field is missing.
    fn renamed(&mut self, found: &Value, request: &ReferenceRequest, expected: &ReferenceExport) {
        let columns = expected.parameters.iter().zip(&expected.columns);
        let columns: BTreeMap<&String, &String> = columns.filter(|(name, column)| name != column).collect();
        let files = expected.vehicles.iter().map(|vehicle| (&vehicle.database, &vehicle.file_name));
        let files: BTreeMap<&String, &String> =
            files.filter(|(name, file)| request.options.file_name(name) != **file).collect();
        for (field, renamed) in [("renamedColumns", columns), ("renamedFiles", files)] {
            self.optional("", found, field, (!renamed.is_empty()).then(|| json!(renamed)).as_ref());
        }
    }

    fn instant(&mut self, field: &str, found: &Value, expected_ms: i64) {
        let instant = found.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        if instant.map(|instant| instant.timestamp_millis()) != Some(expected_ms) {
            self.differences
                .push(format!("manifest, {field}: expected the instant {expected_ms} ms, got {found}"));
        }
    }

    fn vehicle(&mut self, found: &Value, expected: &ReferenceVehicle, file: Option<File>) {
        let name = format!("vehicle {}, ", expected.database);
        let fields = [
            ("vehicle", json!(expected.database)),
            ("entry", json!(expected.file_name)),
            ("rows", json!(expected.rows)),
            ("points", json!(expected.points)),
            ("firstTime", json!(expected.first_time_ms)),
            ("lastTime", json!(expected.last_time_ms)),
            ("pointsRead", json!(expected.points_read)),
            ("cellsWritten", json!(expected.cells_written())),
            ("outsideRange", json!(expected.outside_range)),
            ("rejected", json!(expected.rejected_point_count())),
            ("duplicates", json!(expected.duplicates)),
            ("guarded", json!(expected.guarded)),
            ("missingCollections", json!(expected.missing_collections)),
            ("rejectedPoints", rejections(&expected.rejected_points)),
            ("rejectedDocuments", rejections(&expected.rejected_documents)),
            ("coverage", coverage::of_vehicle(expected)),
        ];
        for (field, expected) in fields {
            self.equal(&format!("{name}{field}"), &found[field], &expected);
        }
        for (field, expected) in [
            ("resampledAway", expected.resampled_away),
            ("filled", expected.filled),
            ("replaced", expected.replaced),
        ] {
            self.optional(&name, found, field, (expected > 0).then(|| json!(expected)).as_ref());
        }
        let buckets = &expected.rejected_buckets;
        let shown = (!buckets.is_empty()).then(|| rejections(buckets));
        self.optional(&name, found, "rejectedBuckets", shown.as_ref());
        if let Some(bytes) = bytes(expected, file) {
            self.equal(&format!("{name}bytes"), &found["bytes"], &json!(bytes));
        }
        if let Some(file) = file {
            self.equal(&format!("{name}crc32"), &found["crc32"], &json!(format!("{:08x}", file.crc32)));
        }
    }

    fn totals(&mut self, found: &Value, vehicles: &[ReferenceVehicle], files: &[Option<File>]) {
        let sum = |count: fn(&ReferenceVehicle) -> u64| vehicles.iter().map(count).sum::<u64>();
        let fields = [
            ("vehicles", json!(vehicles.len())),
            ("rows", json!(sum(|vehicle| vehicle.rows))),
            ("pointsRead", json!(sum(|vehicle| vehicle.points_read))),
            ("cellsWritten", json!(sum(ReferenceVehicle::cells_written))),
            ("outsideRange", json!(sum(|vehicle| vehicle.outside_range))),
            ("rejected", json!(sum(ReferenceVehicle::rejected_point_count))),
            ("duplicates", json!(sum(|vehicle| vehicle.duplicates))),
            ("rejectedDocuments", json!(sum(ReferenceVehicle::rejected_document_count))),
            ("coverage", coverage::of_all(vehicles)),
            ("reconciled", json!(true)),
        ];
        for (field, expected) in fields {
            self.equal(&format!("totals.{field}"), &found[field], &expected);
        }
        for (field, sum) in [
            ("resampledAway", sum(|vehicle| vehicle.resampled_away)),
            ("rejectedBuckets", sum(ReferenceVehicle::rejected_bucket_count)),
        ] {
            self.optional("totals.", found, field, (sum > 0).then(|| json!(sum)).as_ref());
        }
        let bytes: Option<u64> =
            vehicles.iter().zip(files).map(|(vehicle, file)| bytes(vehicle, *file)).sum();
        if let Some(bytes) = bytes {
            self.equal("totals.bytes", &found["bytes"], &json!(bytes));
        }
    }
}

fn rejections(expected: &BTreeMap<String, Rejections>) -> Value {
    let reasons = expected.iter().map(|(reason, rejections)| {
        let samples: Vec<Value> = rejections
            .samples
            .iter()
            .map(|sample| {
                json!({ "parameter": sample.parameter, "document": sample.document, "path": sample.path })
            })
            .collect();
        let mut fields = json!({ "count": rejections.count, "samples": samples });
        if let Some(points) = rejections.points {
            fields["points"] = json!(points);
        }
        if rejections.uncounted > 0 {
            fields["uncounted"] = json!(rejections.uncounted);
        }
        (reason.clone(), fields)
    });
    reasons.collect()
}
