//! The manifest's numbers against the reference's, by the names that users see.

use chrono::DateTime;
use serde_json::{Value, json};

use crate::reference::{ReferenceExport, ReferenceRequest, ReferenceVehicle};

/// Every field in which `found` differs. `crc32_of` gives the CRC-32 of an entry of the archive.
pub(super) fn differences(
    found: &Value,
    request: &ReferenceRequest,
    expected: &ReferenceExport,
    crc32_of: impl Fn(&str) -> Option<u32>,
) -> Vec<String> {
    let mut check = Check { differences: Vec::new() };
    let names: Vec<&str> = expected.vehicles.iter().map(|vehicle| vehicle.database.as_str()).collect();
    check.equal("version", &found["version"], &json!(1));
    check.equal("request.vehicles", &found["request"]["vehicles"], &json!(names));
    check.equal("request.parameters", &found["request"]["parameters"], &json!(expected.parameters));
    check.instant("request.range.from", &found["request"]["range"]["from"], request.from_ms);
    check.instant("request.range.to", &found["request"]["range"]["to"], request.to_ms);

    let vehicles = found["vehicles"].as_array().map_or(&[][..], Vec::as_slice);
    check.equal("number of vehicles", &json!(vehicles.len()), &json!(names.len()));
    for (found, expected) in vehicles.iter().zip(&expected.vehicles) {
        check.vehicle(found, expected, crc32_of(&expected.file_name()));
    }
    check.totals(&found["totals"], &expected.vehicles);
    check.differences
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

    fn instant(&mut self, field: &str, found: &Value, expected_ms: i64) {
        let instant = found.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        if instant.map(|instant| instant.timestamp_millis()) != Some(expected_ms) {
            self.differences
                .push(format!("manifest, {field}: expected the instant {expected_ms} ms, got {found}"));
        }
    }

    fn vehicle(&mut self, found: &Value, expected: &ReferenceVehicle, crc32: Option<u32>) {
        let counts = |rejections: &Value| -> Value {
            let reasons = rejections.as_object().into_iter().flatten();
            reasons.map(|(reason, rejection)| (reason.clone(), rejection["count"].clone())).collect()
        };
        let fields = [
            ("vehicle", json!(expected.database)),
            ("entry", json!(expected.file_name())),
            ("rows", json!(expected.rows)),
            ("points", json!(expected.points)),
            ("firstTime", json!(expected.first_time_ms)),
            ("lastTime", json!(expected.last_time_ms)),
            ("bytes", json!(expected.csv.len())),
            ("pointsRead", json!(expected.points_read)),
            ("cellsWritten", json!(expected.cells_written())),
            ("outsideRange", json!(expected.outside_range)),
            ("rejected", json!(expected.rejected_points())),
            ("duplicates", json!(expected.duplicates)),
            ("guarded", json!(expected.guarded)),
            ("missingCollections", json!(expected.missing_collections)),
        ];
        let name = &expected.database;
        for (field, expected) in fields {
            self.equal(&format!("vehicle {name}, {field}"), &found[field], &expected);
        }
        for (field, expected) in
            [("rejectedPoints", &expected.rejected), ("rejectedDocuments", &expected.rejected_documents)]
        {
            self.equal(&format!("vehicle {name}, {field}"), &counts(&found[field]), &json!(expected));
        }
        if let Some(crc32) = crc32 {
            self.equal(&format!("vehicle {name}, crc32"), &found["crc32"], &json!(format!("{crc32:08x}")));
        }
    }

    fn totals(&mut self, found: &Value, vehicles: &[ReferenceVehicle]) {
        let sum = |count: fn(&ReferenceVehicle) -> u64| json!(vehicles.iter().map(count).sum::<u64>());
        let fields = [
            ("vehicles", json!(vehicles.len())),
            ("rows", sum(|vehicle| vehicle.rows)),
            ("bytes", sum(|vehicle| vehicle.csv.len() as u64)),
            ("pointsRead", sum(|vehicle| vehicle.points_read)),
            ("cellsWritten", sum(ReferenceVehicle::cells_written)),
            ("outsideRange", sum(|vehicle| vehicle.outside_range)),
            ("rejected", sum(ReferenceVehicle::rejected_points)),
            ("duplicates", sum(|vehicle| vehicle.duplicates)),
            ("rejectedDocuments", sum(ReferenceVehicle::rejected_document_count)),
            ("reconciled", json!(true)),
        ];
        for (field, expected) in fields {
            self.equal(&format!("totals.{field}"), &found[field], &expected);
        }
    }
}
