//! Who may do what: the caller of the API, its scopes, and the vehicles that it may see.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Tenant, VehicleId};

/// Longest pattern for vehicles, in bytes: as long as a vehicle's own name may be.
const MAX_PATTERN_BYTES: usize = 63;

/// Something that a caller may do.
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Its name, as stored and as told.
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

/// Why a text does not say what may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No known scope.
    #[error("not a scope: expected export:read, export:write or admin")]
    NotAScope,
    /// Not usable as a pattern.
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

/// Vehicles by the shape of their names, such as `vehicle_0*`: `*` stands for any number of any characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VehiclePattern(String);

impl VehiclePattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the vehicle's whole name has this shape.
    pub fn matches(&self, vehicle: &VehicleId) -> bool {
        let mut parts = self.0.split('*');
        let mut rest = vehicle.as_str();
        // The text before the first star is where the name begins.
        let Some(left) = parts.next().and_then(|start| rest.strip_prefix(start)) else { return false };
        rest = left;
        let Some(end) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The first place is as good as any: what follows it is longest there.
            let Some(found) = rest.find(part) else { return false };
            rest = &rest[found + part.len()..];
        }
        rest.ends_with(end)
    }
}

impl FromStr for VehiclePattern {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for VehiclePattern {
    type Error = AccessError;

    fn try_from(text: String) -> Result<Self, AccessError> {
        let is_usable = (1..=MAX_PATTERN_BYTES).contains(&text.len())
            && !text.chars().any(|c| c.is_control() || c.is_whitespace() || "/\\.\"$".contains(c));
        if is_usable { Ok(Self(text)) } else { Err(AccessError::NotAPattern) }
    }
}

impl From<VehiclePattern> for String {
    fn from(pattern: VehiclePattern) -> Self {
        pattern.0
    }
}

/// The vehicles that a caller may see and export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedVehicles {
    /// All there are.
    #[default]
    All,
    /// Those that have one of these shapes; none, if the list is empty.
    Like(Vec<VehiclePattern>),
}

impl AllowedVehicles {
    /// Whether this vehicle is among them.
    pub fn contains(&self, vehicle: &VehicleId) -> bool {
        match self {
            Self::All => true,
            Self::Like(patterns) => patterns.iter().any(|pattern| pattern.matches(vehicle)),
        }
    }
}

/// Who calls the API, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Names the caller in logs, limits and the audit log: a key's id, or the subject of a token. No secret.
    pub name: String,
    /// Whose jobs they are.
    pub tenant: Tenant,
    /// What they may do.
    pub scopes: Vec<Scope>,
    /// Which vehicles they may see.
    pub vehicles: AllowedVehicles,
}

impl Principal {
    /// Everyone, where the service runs without keys.
    pub fn anyone() -> Self {
        Self {
            name: "anyone".to_owned(),
            tenant: Tenant::default_tenant(),
            scopes: vec![Scope::Admin],
            vehicles: AllowedVehicles::All,
        }
    }

    /// Whether they may do this.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|has| *has == scope || *has == Scope::Admin)
    }

    /// Whether they may see a job of this tenant, which this caller asked for and which may read these vehicles: who may see some
    /// vehicles only sees their own jobs, and those that were as narrow as theirs.
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
    fn stars_stand_for_anything() {
        for pattern in ["vehicle_001", "*", "vehicle_*", "*_001", "v*c*1", "*001*", "vehicle_001*"] {
            assert!(matches(pattern, "vehicle_001"), "{pattern}");
        }
        for pattern in ["vehicle_00", "ehicle_001", "vehicle_0011", "*_002", "v*d*1", "vehicle_001*1", "a*"] {
            assert!(!matches(pattern, "vehicle_001"), "{pattern}");
        }
        assert!(!matches("ab*ba", "aba"), "beginning and end may not overlap");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "a b", "a/b", "a.b", "a$", "a\n", &"v".repeat(64)] {
            assert_eq!(text.parse::<VehiclePattern>(), Err(AccessError::NotAPattern), "{text:?}");
        }
    }

    #[test]
    fn an_admin_may_everything_and_an_empty_list_allows_nothing() {
        let anyone = Principal::anyone();
        assert!(Scope::ALL.into_iter().all(|scope| anyone.may(scope)));
        let reader = Principal { scopes: vec![Scope::Read], ..Principal::anyone() };
        assert!(reader.may(Scope::Read) && !reader.may(Scope::Write) && !reader.may(Scope::Admin));
        assert!(!AllowedVehicles::Like(Vec::new()).contains(&"vehicle_001".parse().expect("a vehicle")));
    }

    #[test]
    fn who_may_see_some_vehicles_sees_no_job_about_others() {
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

    /// The slow, obvious way.
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
