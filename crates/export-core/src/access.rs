//! Permissions: the caller of the API, its scopes, and the vehicles that it may see.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::text_name;
use crate::{Tenant, VehicleId};

/// Longest vehicle pattern, in bytes: the longest name of a vehicle.
const MAX_PATTERN_BYTES: usize = 63;

/// A permission of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// See the tenant's jobs, their results and the vehicles.
    #[serde(rename = "export:read")]
    Read,
    /// Create and cancel jobs.
    #[serde(rename = "export:write")]
    Write,
    /// Everything in the tenant.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The scope's name, as stored and as sent to clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "export:read",
            Self::Write => "export:write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not a scope or a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Not a known scope.
    #[error("not a scope: expected export:read, export:write or admin")]
    NotAScope,
    /// Not a valid pattern.
    #[error(
        "not a pattern for vehicles: expected 1 to 63 characters of vehicle names, where * stands for any number of any"
    )]
    NotAPattern,
}

impl FromStr for Scope {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(AccessError::NotAScope)
    }
}

text_name!(
    /// A pattern for names of vehicles, such as `vehicle_0*`: `*` matches any number of any
    /// characters.
    VehiclePattern,
    AccessError,
    AccessError::NotAPattern,
    |text| {
        (1..=MAX_PATTERN_BYTES).contains(&text.len())
            && !text.chars().any(|c| c.is_control() || c.is_whitespace() || "/\\.\"$".contains(c))
    }
);

impl VehiclePattern {
    /// Whether the pattern matches the vehicle's whole name.
    pub fn matches(&self, vehicle: &VehicleId) -> bool {
        let mut parts = self.0.split('*');
        let mut rest = vehicle.as_str();
        // The name must begin with the text before the first star.
        let Some(left) = parts.next().and_then(|start| rest.strip_prefix(start)) else { return false };
        rest = left;
        let Some(end) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The first occurrence is best, because it leaves the longest rest.
            let Some(found) = rest.find(part) else { return false };
            rest = &rest[found + part.len()..];
        }
        rest.ends_with(end)
    }
}

/// The vehicles that a caller may see and export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedVehicles {
    /// All vehicles.
    #[default]
    All,
    /// Vehicles that match one of these patterns; with an empty list, none.
    Like(Vec<VehiclePattern>),
}

impl AllowedVehicles {
    /// Whether the caller may see this vehicle.
    pub fn contains(&self, vehicle: &VehicleId) -> bool {
        match self {
            Self::All => true,
            Self::Like(patterns) => patterns.iter().any(|pattern| pattern.matches(vehicle)),
        }
    }
}

/// An authenticated caller of the API, with its permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The caller's name in logs, limits and the audit log: the id of a key or the subject of a
    /// token. Not a secret.
    pub name: String,
    /// The caller's tenant.
    pub tenant: Tenant,
    /// The caller's permissions.
    pub scopes: Vec<Scope>,
    /// The vehicles that the caller may see.
    pub vehicles: AllowedVehicles,
}

impl Principal {
    /// The caller of every request where the service runs without authentication.
    pub fn anyone() -> Self {
        Self {
            name: "anyone".to_owned(),
            tenant: Tenant::default_tenant(),
            scopes: vec![Scope::Admin],
            vehicles: AllowedVehicles::All,
        }
    }

    /// Whether the caller has this permission.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|has| *has == scope || *has == Scope::Admin)
    }

    /// Whether the caller may see a job of this tenant, which `created_by` created and which may
    /// read the `allowed` vehicles.
    ///
    /// A caller restricted to some vehicles sees its own jobs, and jobs that may read no other
    /// vehicles than the caller may.
    pub fn sees(&self, tenant: &Tenant, created_by: Option<&str>, allowed: &AllowedVehicles) -> bool {
        let is_within = match (&self.vehicles, allowed) {
            (AllowedVehicles::All, _) => true,
            (AllowedVehicles::Like(_), AllowedVehicles::All) => false,
            (AllowedVehicles::Like(mine), AllowedVehicles::Like(theirs)) => {
                theirs.iter().all(|pattern| mine.contains(pattern))
            }
        };
        *tenant == self.tenant && (is_within || created_by == Some(&*self.name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, vehicle: &str) -> bool {
        pattern.parse::<VehiclePattern>().expect("a pattern").matches(&vehicle.parse().expect("a vehicle"))
    }

    #[test]
    fn stars_match_anything() {
        for pattern in ["vehicle_001", "*", "vehicle_*", "*_001", "v*c*1", "*001*", "vehicle_001*"] {
            assert!(matches(pattern, "vehicle_001"), "{pattern}");
        }
        for pattern in ["vehicle_00", "ehicle_001", "vehicle_0011", "*_002", "v*d*1", "vehicle_001*1", "a*"] {
            assert!(!matches(pattern, "vehicle_001"), "{pattern}");
        }
        assert!(!matches("ab*ba", "aba"), "beginning and end may not overlap");
    }

    #[test]
    fn invalid_patterns_are_rejected() {
        for text in ["", "a b", "a/b", "a.b", "a$", "a\n", &"v".repeat(64)] {
            assert_eq!(text.parse::<VehiclePattern>(), Err(AccessError::NotAPattern), "{text:?}");
        }
    }

    #[test]
    fn an_admin_has_every_scope_and_an_empty_list_allows_no_vehicle() {
        let anyone = Principal::anyone();
        assert!(Scope::ALL.into_iter().all(|scope| anyone.may(scope)));
        let reader = Principal { scopes: vec![Scope::Read], ..Principal::anyone() };
        assert!(reader.may(Scope::Read) && !reader.may(Scope::Write) && !reader.may(Scope::Admin));
        assert!(!AllowedVehicles::Like(Vec::new()).contains(&"vehicle_001".parse().expect("a vehicle")));
    }

    #[test]
    fn a_restricted_caller_sees_no_job_about_other_vehicles() {
        let like = |patterns: &[&str]| {
            AllowedVehicles::Like(patterns.iter().map(|text| text.parse().expect("a pattern")).collect())
        };
        let tenant = Tenant::default_tenant();
        let everything = Principal::anyone();
        let bounded =
            Principal { name: "key".to_owned(), vehicles: like(&["a*", "b*"]), ..Principal::anyone() };
        for (allowed, is_seen) in [
            (AllowedVehicles::All, false),
            (like(&["a*"]), true),
            (like(&["b*", "a*"]), true),
            (like(&["a*", "c*"]), false),
        ] {
            assert_eq!(bounded.sees(&tenant, Some("other"), &allowed), is_seen, "{allowed:?}");
            assert!(bounded.sees(&tenant, Some("key"), &allowed), "their own: {allowed:?}");
            assert!(everything.sees(&tenant, None, &allowed), "{allowed:?}");
        }
        let elsewhere = "elsewhere".parse().expect("a tenant");
        assert!(!everything.sees(&elsewhere, Some("anyone"), &AllowedVehicles::All));
    }

    /// The slow, obvious implementation.
    fn by_hand(pattern: &[char], name: &[char]) -> bool {
        match pattern {
            [] => name.is_empty(),
            ['*', rest @ ..] => (0..=name.len()).any(|skipped| by_hand(rest, &name[skipped..])),
            [first, rest @ ..] => name.first() == Some(first) && by_hand(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn patterns_match_as_by_hand(pattern in "[ab*]{1,8}", name in "[ab]{1,8}") {
            let chars: Vec<char> = name.chars().collect();
            let expected = by_hand(&pattern.chars().collect::<Vec<_>>(), &chars);
            prop_assert_eq!(matches(&pattern, &name), expected);
        }
    }
}
