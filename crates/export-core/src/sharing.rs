//! Which requests ask for the same bytes, so that one export can answer them all.

use std::fmt::{self, Write as _};

use chrono_tz::Tz;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::access::AllowedVehicles;
use crate::id::{Parameter, VehicleId};
use crate::request::ExportRequest;

/// A name for everything that the bytes of a result depend on: equal for requests whose results are the same, and for no others.
///
/// Whether a range is over, so that its result will stay what it is, is not in it: that is for the clock of the store to say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShareKey(String);

/// What is hashed, as JSON: names and order are fixed, and no value can be taken for another.
#[derive(Serialize)]
struct Canonical<'a> {
    version: &'a str,
    // As written, since the manifest repeats them.
    start_date: &'a str,
    end_date: &'a str,
    timezone: &'a str,
    from_ms: i64,
    to_ms: i64,
    // In the order asked: it is the one of the files and of the columns.
    vehicles: Option<&'a [VehicleId]>,
    parameters: Option<&'a [Parameter]>,
    format: &'a str,
    archive: &'a str,
    compression: &'a str,
    time_format: &'a str,
    csv_guard: &'a str,
    step_ms: Option<u64>,
    fill: Option<&'a str>,
    /// Whoever may see fewer vehicles must not get at the result of one who may see more.
    allowed_vehicles: Option<Vec<&'a str>>,
}

impl ShareKey {
    /// The key of a request by somebody who may read these vehicles, of this version of the program: another one may write other bytes.
    pub fn of(request: &ExportRequest, allowed: &AllowedVehicles, version: &str) -> Self {
        // Every field is named: who adds one to a request decides here whether the result depends on it.
        let ExportRequest {
            start_date,
            end_date,
            timezone,
            range,
            vehicles,
            parameters,
            output,
            webhook_url: _,
            force: _,
        } = request;
        let canonical = Canonical {
            version,
            start_date,
            end_date,
            timezone: Tz::name(*timezone),
            from_ms: range.from_ms(),
            to_ms: range.to_ms(),
            vehicles: vehicles.as_deref(),
            parameters: parameters.as_deref(),
            format: output.format.as_str(),
            archive: output.archive.as_str(),
            compression: output.compression.as_str(),
            time_format: output.time_format.as_str(),
            csv_guard: output.csv_guard.as_str(),
            step_ms: output.step_ms().map(std::num::NonZeroU64::get),
            fill: output.fill().map(crate::output::Fill::as_str),
            allowed_vehicles: match allowed {
                AllowedVehicles::All => None,
                AllowedVehicles::Like(patterns) => {
                    Some(patterns.iter().map(crate::access::VehiclePattern::as_str).collect())
                }
            },
        };
        let text = serde_json::to_vec(&canonical).expect("texts, numbers and lists of them become JSON");
        let mut key = String::with_capacity(64);
        for byte in Sha256::digest(text) {
            write!(key, "{byte:02x}").expect("a text takes what is written");
        }
        Self(key)
    }

    /// The key as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
