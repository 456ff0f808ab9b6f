//! Permissions: the caller of the API, its scopes, and the vehicles that it may see.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Tenant, VehicleId};

/// Longest vehicle pattern, in bytes: the longest name of a vehicle.
const MAX_PATTERN_BYTES: usize = 63;
/// Maximum number of patterns of one caller: each of its jobs stores them all.
pub const MAX_PATTERNS: usize = 1_000;
/// Maximum number of patterns of a tenant's ceiling: each request of a caller is compared with all
/// of them.
pub const MAX_CEILING_PATTERNS: usize = 100;
/// Stands between the two patterns of an intersection.
const BOTH: char = '/';

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

/// A caller's patterns and its tenant's combine to more than [`MAX_PATTERNS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the patterns of the caller and of its tenant combine to more than {MAX_PATTERNS}")]
pub struct TooManyPatterns;

impl FromStr for Scope {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(AccessError::NotAScope)
    }
}

/// A pattern for names of vehicles, such as `vehicle_0*`: `*` matches any number of any characters.
///
/// People write plain patterns ([`FromStr`]). The intersection of two plain patterns is stored as
/// both, with `/` between them, and matches the names that both match. No name of a vehicle has a
/// `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct VehiclePattern(String);

impl TryFrom<String> for VehiclePattern {
    type Error = AccessError;

    /// Reads a stored pattern: a plain one, or the intersection of two.
    fn try_from(text: String) -> Result<Self, AccessError> {
        let (first, second) = text.split_once(BOTH).unwrap_or((&text, &text));
        if is_plain_pattern(first) && is_plain_pattern(second) {
            Ok(Self(text))
        } else {
            Err(AccessError::NotAPattern)
        }
    }
}

impl FromStr for VehiclePattern {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        if is_plain_pattern(text) { Ok(Self(text.to_owned())) } else { Err(AccessError::NotAPattern) }
    }
}

fn is_plain_pattern(text: &str) -> bool {
    (1..=MAX_PATTERN_BYTES).contains(&text.len())
        && !text.chars().any(|c| c.is_control() || c.is_whitespace() || "/\\.\"$".contains(c))
}

impl VehiclePattern {
    /// The pattern as text, as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The plain patterns that a name must match: one, or both of an intersection.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split(BOTH)
    }

    /// Whether the pattern matches the vehicle's whole name.
    pub fn matches(&self, vehicle: &VehicleId) -> bool {
        self.parts().all(|part| matches(part, vehicle.as_str()))
    }

    /// Whether the pattern matches every name that `other` matches. For an intersection it may
    /// answer `false` although that is so, and never the other way around.
    ///
    /// A star in `other` stands for any text, so only a star matches it. No pattern has a star
    /// between its stars, so a star in the text is never matched by anything else.
    fn covers(&self, other: &Self) -> bool {
        self.parts().all(|mine| other.parts().any(|theirs| matches(mine, theirs)))
    }

    /// The pattern of the names that both patterns match; `None` if there are none. Both patterns
    /// are plain.
    fn and(&self, other: &Self) -> Option<Self> {
        if are_disjoint(&self.0, &other.0) {
            None
        } else if other.covers(self) {
            Some(self.clone())
        } else if self.covers(other) {
            Some(other.clone())
        } else {
            Some(Self(format!("{self}{BOTH}{other}")))
        }
    }
}

impl fmt::Display for VehiclePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the plain pattern matches all of the text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    // The text must begin with the part before the first star.
    let Some(mut rest) = parts.next().and_then(|start| text.strip_prefix(start)) else { return false };
    let Some(end) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The first occurrence is best, because it leaves the longest rest.
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.ends_with(end)
}

/// Whether no name matches both plain patterns. Two patterns with stars have a common name if one
/// beginning begins with the other, and one end ends with the other: the stars take the rest.
fn are_disjoint(a: &str, b: &str) -> bool {
    match (a.contains('*'), b.contains('*')) {
        (false, _) => !matches(b, a),
        (_, false) => !matches(a, b),
        (true, true) => {
            let (a_start, b_start) = (beginning(a), beginning(b));
            let (a_end, b_end) = (end(a), end(b));
            !(a_start.starts_with(b_start) || b_start.starts_with(a_start))
                || !(a_end.ends_with(b_end) || b_end.ends_with(a_end))
        }
    }
}

/// The text before the first star.
fn beginning(pattern: &str) -> &str {
    pattern.split('*').next().unwrap_or_default()
}

/// The text after the last star.
fn end(pattern: &str) -> &str {
    pattern.rsplit('*').next().unwrap_or_default()
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

    /// Whether each of the `other` vehicles is among these, whatever their names are. It may answer
    /// `false` although that is so, where one pattern is covered by several together.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Like(mine), Self::All) => {
                mine.iter().any(|pattern| pattern.parts().all(|part| part.bytes().all(|byte| byte == b'*')))
            }
            (Self::Like(mine), Self::Like(theirs)) => {
                theirs.iter().all(|theirs| mine.iter().any(|mine| mine.covers(theirs)))
            }
        }
    }

    /// The vehicles that are among these and that the ceiling allows. The patterns of both are
    /// plain.
    ///
    /// # Errors
    /// If the intersection has more than [`MAX_PATTERNS`] patterns.
    pub fn within(&self, ceiling: &Self) -> Result<Self, TooManyPatterns> {
        let (mine, ceiling) = match (self, ceiling) {
            (_, Self::All) => return Ok(self.clone()),
            (Self::All, _) => return Ok(ceiling.clone()),
            (Self::Like(mine), Self::Like(ceiling)) => (mine, ceiling),
        };
        let mut both = BTreeSet::new();
        for pattern in mine {
            both.extend(ceiling.iter().filter_map(|limit| pattern.and(limit)));
            if both.len() > MAX_PATTERNS {
                return Err(TooManyPatterns);
            }
        }
        Ok(Self::Like(both.into_iter().collect()))
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

    fn like(patterns: &[&str]) -> AllowedVehicles {
        AllowedVehicles::Like(patterns.iter().map(|text| text.parse().expect("a pattern")).collect())
    }

    #[test]
    fn d1_a_caller_gets_what_its_tenant_may_see_of_what_it_may_see() {
        let all = AllowedVehicles::All;
        for (caller, ceiling, expected) in [
            (all.clone(), all.clone(), all.clone()),
            (all.clone(), like(&["acme_*"]), like(&["acme_*"])),
            (like(&["bus_*"]), all.clone(), like(&["bus_*"])),
            (like(&["*"]), like(&["acme_*"]), like(&["acme_*"])),
            (like(&["acme_7"]), like(&["acme_*"]), like(&["acme_7"])),
            (like(&["acme_*", "bus_*"]), like(&["acme_1*", "bus_*"]), like(&["acme_1*", "bus_*"])),
            (like(&["bus_*", "tram_7"]), like(&["acme_*"]), like(&[])),
            (like(&["bus_*"]), like(&[]), like(&[])),
            (like(&[]), all.clone(), like(&[])),
        ] {
            assert_eq!(caller.within(&ceiling), Ok(expected), "{caller:?} within {ceiling:?}");
        }
        let both = like(&["acme_*"]).within(&like(&["*_001"])).expect("few");
        let contains = |name: &str| both.contains(&name.parse().expect("a vehicle"));
        assert!(contains("acme_001") && contains("acme_x_001"));
        assert!(!contains("acme_002") && !contains("bus_001"));
    }

    #[test]
    fn d1_an_intersection_is_stored_and_no_one_can_write_it() {
        let AllowedVehicles::Like(both) = like(&["a*"]).within(&like(&["*b"])).expect("few") else {
            panic!("all vehicles")
        };
        let text = serde_json::to_string(&both).expect("JSON");
        assert_eq!(serde_json::from_str::<Vec<VehiclePattern>>(&text).expect("patterns"), both);
        assert_eq!(both[0].as_str().parse::<VehiclePattern>(), Err(AccessError::NotAPattern));
        for text in ["a/b/c", "/", "a/", "/a", "a/b c"] {
            assert_eq!(VehiclePattern::try_from(text.to_owned()), Err(AccessError::NotAPattern), "{text}");
        }
    }

    #[test]
    fn d1_the_number_of_patterns_is_bounded() {
        let many = |of: &dyn Fn(usize) -> String| {
            AllowedVehicles::Like((0..60).map(|n| of(n).parse().expect("a pattern")).collect())
        };
        let (starts, ends) = (many(&|n| format!("{n}_*")), many(&|n| format!("*_{n}")));
        assert_eq!(starts.within(&ends), Err(TooManyPatterns));
        assert_eq!(starts.within(&starts), Ok(many(&|n| format!("{n}_*")).within(&starts).expect("few")));
    }

    #[test]
    fn d1_covering_is_decided_by_patterns() {
        let all = AllowedVehicles::All;
        for (wide, narrow) in [
            (&all, &all),
            (&all, &like(&["a*"])),
            (&like(&["**"]), &all),
            (&like(&["a*", "b*"]), &like(&["b1*", "a*"])),
            (&like(&["a*c"]), &like(&["ab*c", "abc"])),
            (&like(&["a*"]), &like(&["a*"]).within(&like(&["*b"])).expect("few")),
            (&like(&["a*"]), &like(&[])),
        ] {
            assert!(wide.covers(narrow), "{wide:?} {narrow:?}");
        }
        for (narrow, wide) in [
            (&like(&["a*"]), &all),
            (&like(&[]), &all),
            (&like(&["a*"]), &like(&["a*", "c*"])),
            (&like(&["a*b"]), &like(&["a*"])),
            (&like(&["a*"]), &like(&["*a"])),
            (&like(&["a*"]).within(&like(&["*b"])).expect("few"), &like(&["a*"])),
        ] {
            assert!(!narrow.covers(wide), "{narrow:?} {wide:?}");
        }
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

        #[test]
        fn d1_intersections_are_exact(
            mine in prop::collection::vec("[ab*]{1,6}", 0..4),
            ceiling in prop::collection::vec("[ab*]{1,6}", 0..4),
            name in "[ab]{1,8}",
        ) {
            let allowed = |patterns: &[String]| like(&patterns.iter().map(String::as_str).collect::<Vec<_>>());
            let (mine, ceiling) = (allowed(&mine), allowed(&ceiling));
            let (both, name) = (mine.within(&ceiling).expect("few"), name.parse().expect("a vehicle"));
            prop_assert_eq!(both.contains(&name), mine.contains(&name) && ceiling.contains(&name));
            prop_assert!(mine.covers(&both) && ceiling.covers(&both));
            if mine.covers(&ceiling) {
                prop_assert!(mine.contains(&name) || !ceiling.contains(&name));
            }
        }
    }
}
