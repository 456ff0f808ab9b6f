//! Which requests have the same result, so that one result can serve all of them.

use std::collections::BTreeSet;
use std::fmt;

use chrono_tz::Tz;
use serde::{Serialize, Serializer};

use crate::access::AllowedVehicles;
use crate::digest::sha256_hex;
use crate::id::{Parameter, VehicleId};
use crate::output::{OutputOptions, RESULT_FORMAT_VERSION};
use crate::request::ExportRequest;

/// A hash of everything that the bytes of a result depend on.
///
/// Equal keys mean equal results. Vehicles and allowed patterns are sorted in the key, because
/// their order does not affect the result: its files are sorted by vehicle.
///
/// Whether the range has ended (only then is a result final) is not part of the key: the store
/// decides it by its clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShareKey(String);

/// The hashed values, as JSON: names and order are fixed, and JSON keeps the values apart.
#[derive(Serialize)]
struct Canonical<'a> {
    version: u32,
    // As written by the client, because the manifest repeats them.
    start_date: &'a str,
    end_date: &'a str,
    timezone: &'a str,
    from_ms: i64,
    to_ms: i64,
    // Sorted: the files are, too.
    vehicles: Option<BTreeSet<&'a VehicleId>>,
    // In the order of the request, which is the order of the columns.
    parameters: Option<&'a [Parameter]>,
    #[serde(flatten, serialize_with = "options")]
    output: &'a OutputOptions,
    /// A caller who may read fewer vehicles must not get the result of a caller who may read more.
    allowed_vehicles: Option<BTreeSet<&'a str>>,
}

/// The options as in a stored job, but with names such as `time_format` instead of `timeFormat`.
fn options<S: Serializer>(output: &OutputOptions, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(output.fields().map(|(option, value)| (option.flag.replace('-', "_"), value)))
}

impl ShareKey {
    /// The key of a request by a caller who may read these vehicles.
    pub fn of(request: &ExportRequest, allowed: &AllowedVehicles) -> Self {
        Self::of_version(request, allowed, RESULT_FORMAT_VERSION)
    }

    fn of_version(request: &ExportRequest, allowed: &AllowedVehicles, version: u32) -> Self {
        // Every field is named, so that adding one to the request forces a decision here: does the
        // result depend on it?
        let ExportRequest {
            start_date,
            end_date,
            timezone,
            range,
            vehicles,
            parameters,
            output,
            webhook_url: _,
            fresh: _,
            label: _,
            retry_of: _,
        } = request;
        let canonical = Canonical {
            version,
            start_date,
            end_date,
            timezone: Tz::name(*timezone),
            from_ms: range.from_ms(),
            to_ms: range.to_ms(),
            vehicles: vehicles.as_ref().map(|vehicles| vehicles.iter().collect()),
            parameters: parameters.as_deref(),
            output,
            allowed_vehicles: match allowed {
                AllowedVehicles::All => None,
                AllowedVehicles::Like(patterns) => {
                    Some(patterns.iter().map(crate::access::VehiclePattern::as_str).collect())
                }
            },
        };
        let text = serde_json::to_vec(&canonical).expect("strings, numbers and lists of them become JSON");
        Self(sha256_hex(text))
    }

    /// The key as stored: 64 hexadecimal digits.
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
