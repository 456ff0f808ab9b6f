//! Warnings: an export that is as asked, and probably not as meant.
//!
//! Warnings about a result follow from its manifest alone
//! ([`Manifest::find_warnings`](crate::manifest::Manifest::find_warnings)), so they are in the
//! manifest and equal data gives equal bytes. Warnings that depend on the clock or on the
//! catalog are the job's ([`Job::warnings`](crate::job::Job::warnings)).

use serde::{Deserialize, Serialize};

use crate::range::to_rfc3339;
use crate::{TimeRange, VehicleId};

/// Most warnings that are listed; the others are counted.
pub const MAX_WARNINGS: usize = 20;

/// What a warning is about. The names are part of the HTTP contract, of the manifest and of stored
/// documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WarningCode {
    /// No value lies in the range, of any vehicle or of one.
    NoPoints,
    /// By the catalog, the data ends before the range begins, of all vehicles or of one.
    AfterLastData,
    /// The source was read before the range was over.
    RangeNotOver,
    /// The export has no vehicle: there is none, or none that the job may read.
    NoVehicleAllowed,
    /// A vehicle has none of the parameters, or no vehicle has a parameter.
    NoParameterFound,
    /// The names of the request were not checked, because the catalog is not current.
    CatalogNotReady,
}

impl WarningCode {
    /// All codes.
    pub const ALL: [Self; 6] = [
        Self::NoPoints,
        Self::AfterLastData,
        Self::RangeNotOver,
        Self::NoVehicleAllowed,
        Self::NoParameterFound,
        Self::CatalogNotReady,
    ];

    /// The code's name, as stored and as sent to clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPoints => "no_points",
            Self::AfterLastData => "after_last_data",
            Self::RangeNotOver => "range_not_over",
            Self::NoVehicleAllowed => "no_vehicle_allowed",
            Self::NoParameterFound => "no_parameter_found",
            Self::CatalogNotReady => "catalog_not_ready",
        }
    }
}

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Stable name of what it is about: that of a [`WarningCode`], or of a later version's.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// The vehicle that it is about; `None`: the whole export.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vehicle: Option<String>,
    /// The parameter that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parameter: Option<String>,
}

impl Warning {
    /// A warning about the whole export.
    pub fn new(code: WarningCode, message: impl Into<String>) -> Self {
        Self { code: code.as_str().to_owned(), message: message.into(), vehicle: None, parameter: None }
    }

    /// The warning, about one vehicle.
    #[must_use]
    pub(crate) fn of_vehicle(self, vehicle: &str) -> Self {
        Self { vehicle: Some(vehicle.to_owned()), ..self }
    }

    /// Whether it has this code.
    pub fn is(&self, code: WarningCode) -> bool {
        self.code == code.as_str()
    }

    /// The export has no vehicle.
    pub fn no_vehicle() -> Self {
        let message = "the export has no vehicle: there is none that the request and the key allow";
        Self::new(WarningCode::NoVehicleAllowed, message)
    }

    /// The source was read before the end of the range.
    pub fn range_not_over(range: TimeRange) -> Self {
        let message = format!(
            "the range is not over: it ends at {}, and what the vehicles send after the export has read them is not in the files",
            range.to_rfc3339()
        );
        Self::new(WarningCode::RangeNotOver, message)
    }

    /// The catalog has no list of vehicles, or an old one.
    pub fn catalog_not_ready(listed_at_ms: Option<i64>) -> Self {
        let message = match listed_at_ms {
            None => {
                "the list of vehicles was not made yet, so the names of vehicles and parameters were not checked"
                    .to_owned()
            }
            Some(listed_at_ms) => format!(
                "the list of vehicles was last refreshed at {}, so the names of vehicles and parameters were not checked",
                to_rfc3339(listed_at_ms)
            ),
        };
        Self::new(WarningCode::CatalogNotReady, message)
    }

    /// By the catalog, no vehicle has data after this time, and the range begins later.
    pub fn after_last_data(last_ms: i64) -> Self {
        let message =
            format!("the vehicles have no data after {}, and the range begins later", to_rfc3339(last_ms));
        Self::new(WarningCode::AfterLastData, message)
    }

    /// By the catalog, the vehicle has no data after this time, and the range begins later.
    pub fn after_last_data_of(vehicle: &VehicleId, last_ms: i64) -> Self {
        let message =
            format!("{vehicle} has no data after {}, and the range begins later", to_rfc3339(last_ms));
        Self::new(WarningCode::AfterLastData, message).of_vehicle(vehicle.as_str())
    }
}

/// The first warnings, and the number of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warnings {
    /// The first [`MAX_WARNINGS`].
    #[serde(rename = "warnings", default)]
    pub list: Vec<Warning>,
    /// Number of the others.
    #[serde(rename = "warningsMore", skip_serializing_if = "is_zero", default)]
    pub more: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Extend<Warning> for Warnings {
    fn extend<I: IntoIterator<Item = Warning>>(&mut self, warnings: I) {
        for warning in warnings {
            if self.list.len() < MAX_WARNINGS {
                self.list.push(warning);
            } else {
                self.more += 1;
            }
        }
    }
}

impl FromIterator<Warning> for Warnings {
    fn from_iter<I: IntoIterator<Item = Warning>>(warnings: I) -> Self {
        let mut all = Self::default();
        all.extend(warnings);
        all
    }
}

impl Warnings {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

#[cfg(test)]
#[path = "warnings_tests.rs"]
mod tests;
