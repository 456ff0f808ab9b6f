//! Identifiers of jobs, vehicles, parameters and tenants.
//!
//! Each type can only be created by parsing, so code that holds a value never checks it again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of an export job: a `UUIDv7`, so that ids sort by the time of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// Wraps a UUID created by the caller, with the caller's clock and randomness.
    pub fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The smallest id of this millisecond, for ranges of ids by time. No job has it.
    pub fn first_at(time_ms: u64) -> Self {
        // The first 48 bits of a `UUIDv7` are the time.
        Self(Uuid::from_u128(u128::from(time_ms) << 80))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for JobId {
    type Err = NameError;

    /// Accepts only the hyphenated form, so that each job has one URL.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() != 36 {
            return Err(NameError::NotAJobId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| NameError::NotAJobId)
    }
}

/// Why a text is not a valid identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a hyphenated UUID.
    #[error("not a job id: expected a UUID such as 01983c5e-7a01-7c3a-9d5e-0123456789ab")]
    NotAJobId,
    /// Not a possible MongoDB database name.
    #[error(
        "not a vehicle name: expected 1 to 63 bytes without control characters, spaces or any of /\\.\"$"
    )]
    NotAVehicle,
    /// Not a possible MongoDB collection name.
    #[error("not a parameter name: expected 1 to 255 bytes without NUL or $, not starting with \"system.\"")]
    NotAParameter,
    /// Not usable in an object key.
    #[error("not a tenant name: expected 1 to 63 of a-z, 0-9, - and _")]
    NotATenant,
}

/// Defines a type for a text that is valid if `$valid` says so; parsing another text is `$error`.
macro_rules! text_name {
    ($(#[$attribute:meta])* $name:ident, $error_type:ty, $error:expr, $valid:expr) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error_type;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                let is_valid: fn(&str) -> bool = $valid;
                if is_valid(&text) { Ok(Self(text)) } else { Err($error) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error_type;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub(crate) use text_name;

text_name!(
    /// A vehicle: the name of its MongoDB database, such as `vehicle_001`.
    ///
    /// MongoDB's rules for database names exclude every path separator, so the name is safe as a
    /// file name inside archives. (Windows renames some names that Linux allows, such as `a:b`,
    /// when it unpacks.)
    VehicleId,
    NameError,
    NameError::NotAVehicle,
    |text| {
        (1..=63).contains(&text.len())
            && !text.contains(['/', '\\', '.', ' ', '"', '$'])
            && !text.chars().any(char::is_control)
    }
);

text_name!(
    /// A parameter: the name of a MongoDB collection of a vehicle's database, such as `soc` or
    /// `analyses.estimated_range`.
    Parameter,
    NameError,
    NameError::NotAParameter,
    |text| {
        // MongoDB allows 255 bytes for database, dot and collection together.
        (1..=255).contains(&text.len()) && !text.contains(['\0', '$']) && !text.starts_with("system.")
    }
);

text_name!(
    /// A tenant: the owner of jobs. Part of object keys.
    Tenant,
    NameError,
    NameError::NotATenant,
    |text| {
        (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    }
);

impl Tenant {
    /// The tenant of all callers where the service runs without authentication.
    pub fn default_tenant() -> Self {
        Self("default".to_owned())
    }
}

/// The first columns, in this order, as far as they exist; the others follow by name.
const FIRST_PARAMETERS: [&str; 5] = ["soc", "speed", "current", "odo", "voltage"];

/// Sorts parameters into the default column order: `soc,speed,current,odo,voltage`, then the others
/// by name.
pub fn sort_parameters(parameters: &mut [Parameter]) {
    let rank = |parameter: &Parameter| {
        FIRST_PARAMETERS
            .iter()
            .position(|first| *first == parameter.as_str())
            .unwrap_or(FIRST_PARAMETERS.len())
    };
    parameters.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_have_one_spelling() {
        let text = "01983c5e-7a01-7c3a-9d5e-0123456789ab";
        assert_eq!(text.parse::<JobId>().map(|id| id.to_string()), Ok(text.to_owned()));
        for bad in [
            "",
            "1",
            "01983c5e7a017c3a9d5e0123456789ab",
            "{01983c5e-7a01-7c3a-9d5e-0123456789ab}",
            "zz983c5e-7a01-7c3a-9d5e-0123456789ab",
        ] {
            assert_eq!(bad.parse::<JobId>(), Err(NameError::NotAJobId), "{bad:?}");
        }
    }

    #[test]
    fn ids_sort_by_time() {
        let id: JobId = "01983c5e-7a01-7c3a-9d5e-0123456789ab".parse().expect("an id");
        let first = JobId::first_at(0x0198_3c5e_7a01);
        assert_eq!(first.to_string(), "01983c5e-7a01-0000-0000-000000000000");
        assert!(first < id && id < JobId::first_at(0x0198_3c5e_7a02));
    }

    #[test]
    fn vehicle_names_cannot_leave_a_folder() {
        for bad in ["", "..", "a/b", "a\\b", "a.b", "a b", "a\nb", "a\0", &"v".repeat(64)] {
            assert_eq!(bad.parse::<VehicleId>(), Err(NameError::NotAVehicle), "{bad:?}");
        }
        assert!("vehicle_001".parse::<VehicleId>().is_ok());
    }

    #[test]
    fn parameters_may_hold_dots_commas_and_quotes() {
        for good in ["soc", "analyses.estimated_range", "a,b", "say \"hi\"", "two\nlines"] {
            assert!(good.parse::<Parameter>().is_ok(), "{good:?}");
        }
        for bad in ["", "system.views", "a$b", "a\0b"] {
            assert_eq!(bad.parse::<Parameter>(), Err(NameError::NotAParameter), "{bad:?}");
        }
    }

    #[test]
    fn default_column_order() {
        let mut parameters: Vec<Parameter> = ["zeta", "voltage", "alpha", "odo", "soc", "current", "speed"]
            .iter()
            .map(|name| name.parse().expect("a valid name"))
            .collect();
        sort_parameters(&mut parameters);
        let names: Vec<&str> = parameters.iter().map(Parameter::as_str).collect();
        assert_eq!(names, ["soc", "speed", "current", "odo", "voltage", "alpha", "zeta"]);
    }
}
