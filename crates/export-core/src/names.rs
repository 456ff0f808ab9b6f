//! Names that people type: spaces around them, and typing errors.

/// Largest edit distance (Levenshtein) at which a known name is suggested.
const MAX_DISTANCE: usize = 2;

/// The text without spaces and invisible characters at its ends, which come with text that was
/// copied from a list or a document. They are never part of a name or a date in a request.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c))
}

/// Whether a character takes no space where text is shown: marks of direction, joiners, and the
/// hyphen of a possible line break. Text copied from a web page or a file's properties has them.
pub fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}

/// The candidate most similar to `name`, if one is similar enough to be a typing error.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let length = wanted.chars().count();
    let similar = candidates.into_iter().filter_map(|candidate| {
        let lower = candidate.to_lowercase();
        if lower.chars().count().abs_diff(length) > MAX_DISTANCE {
            return None;
        }
        let distance = strsim::levenshtein(&wanted, &lower);
        let is_similar = distance <= MAX_DISTANCE && distance * 2 < lower.chars().count();
        is_similar.then_some((distance, candidate))
    });
    similar.min().map(|(_, candidate)| candidate)
}

/// The kinds of names that a request may have wrong, with the words of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownName {
    /// A vehicle that does not exist, or that the caller may not see.
    Vehicle,
    /// A parameter that none of the vehicles of the request has.
    Parameter,
}

impl UnknownName {
    /// The error: what is wrong, the name that was probably meant, and where all names are listed.
    pub fn detail(self, suggestion: Option<&str>, listed: &str) -> String {
        let what = match self {
            Self::Vehicle => "unknown vehicle",
            Self::Parameter => "unknown parameter: none of the vehicles asked for has it",
        };
        let meant = suggestion.map(|name| format!("did you mean {name}? ")).unwrap_or_default();
        format!("{what}; {meant}{listed}")
    }
}

/// Alternatives as a person reads them: `a`, `a or b`, `a, b or c`.
pub(crate) fn alternatives<T: AsRef<str>>(texts: &[T]) -> String {
    match texts {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} or {}", first.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised() {
        let vehicles = ["vehicle_001", "vehicle_002", "vehicle_010", "truck_1"];
        for (name, expected) in [
            ("vehicle_01", Some("vehicle_001")),
            ("Vehicle_002", Some("vehicle_002")),
            ("vehicel_010", Some("vehicle_010")),
            ("truck1", Some("truck_1")),
            ("vehicle_999", None),
            ("v", None),
        ] {
            assert_eq!(closest(name, vehicles), expected, "{name}");
        }
        assert_eq!(closest("a", ["b"]), None, "no common characters");
    }

    #[test]
    fn b1_spaces_around_a_name_are_not_part_of_it() {
        for text in ["odo", " odo", "odo\t", "\u{a0}odo\u{3000}", "\u{feff}odo\u{200b}", "odo\r\n"] {
            assert_eq!(trimmed(text), "odo", "{text:?}");
        }
        assert_eq!(trimmed("fuel level"), "fuel level");
        assert_eq!(trimmed(" \u{200b} "), "");
    }

    #[test]
    fn b2_an_unknown_name_is_reported_with_a_suggestion() {
        let listed = "GET /vehicles lists them";
        assert_eq!(
            UnknownName::Vehicle.detail(Some("vehicle_001"), listed),
            "unknown vehicle; did you mean vehicle_001? GET /vehicles lists them"
        );
        assert_eq!(
            UnknownName::Parameter.detail(None, listed),
            "unknown parameter: none of the vehicles asked for has it; GET /vehicles lists them"
        );
    }

    #[test]
    fn alternatives_are_joined() {
        assert_eq!(alternatives(&["a"]), "a");
        assert_eq!(alternatives(&["a", "b", "c"]), "a, b or c");
    }
}
