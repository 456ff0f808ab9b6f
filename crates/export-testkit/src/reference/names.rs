//! Names of columns and files: one rule for both, by comparing each name with all others.

use unicode_normalization::UnicodeNormalization as _;

use super::spreadsheet::guarded;
use super::{ReferenceFormat, ReferenceOptions};

/// Characters that Windows does not allow in the name of a file.
const NOT_IN_FILES: [char; 9] = ['<', '>', ':', '"', '/', '\\', '|', '?', '*'];

/// The names of the columns behind `time`.
pub(super) fn columns(parameters: &[String], options: &ReferenceOptions) -> Vec<String> {
    let is_guarding = options.format == ReferenceFormat::Csv && options.guard;
    let names: Vec<String> = parameters
        .iter()
        .map(|name| guarded(name).filter(|_| is_guarding).unwrap_or_else(|| name.clone()))
        .collect();
    made_unique(&names, Some("time"))
}

/// The names of the vehicles' files without their ending.
pub(super) fn files(databases: &[&str]) -> Vec<String> {
    made_unique(&databases.iter().map(|name| for_windows(name)).collect::<Vec<_>>(), None)
}

/// A name that Windows accepts.
fn for_windows(name: &str) -> String {
    let replaced = |c: char| NOT_IN_FILES.contains(&c) || c.is_control();
    let name = name.replace(replaced, "_");
    let upper = name.to_uppercase();
    let is_port = |kind: &str| {
        let number = upper.strip_prefix(kind);
        number.is_some_and(|rest| rest.chars().count() == 1 && "0123456789¹²³".contains(rest))
    };
    let is_device =
        ["CON", "PRN", "AUX", "NUL"].contains(&upper.as_str()) || is_port("COM") || is_port("LPT");
    if is_device { format!("{name}_") } else { name }
}

/// The later of two equal names gets a number, the smallest from 2 on that makes it new.
fn made_unique(names: &[String], reserved: Option<&str>) -> Vec<String> {
    let mut given: Vec<String> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let is_known =
            names[..index].iter().map(String::as_str).chain(reserved).any(|other| are_same(other, name));
        let chosen = if is_known {
            let is_free = |candidate: &String| {
                let others = names.iter().chain(&given).map(String::as_str).chain(reserved);
                !others.into_iter().any(|other| are_same(other, candidate))
            };
            (2..=u32::MAX)
                .map(|number| format!("{name}_{number}"))
                .find(is_free)
                .expect("there are enough numbers")
        } else {
            name.clone()
        };
        given.push(chosen);
    }
    given
}

/// Whether a program or a file system may take one for the other.
fn are_same(one: &str, other: &str) -> bool {
    let plain = |name: &str| {
        let composed: String = name.trim().nfc().collect();
        // Dotted and dotless i are both an i somewhere.
        let upper = composed.to_lowercase().to_uppercase().replace("I\u{307}", "I");
        upper.nfc().collect::<String>()
    };
    one == other || plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unique(names: &[&str]) -> Vec<String> {
        made_unique(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), Some("time"))
    }

    #[test]
    fn a8_later_names_get_numbers_that_no_other_name_has() {
        assert_eq!(unique(&["soc", "SOC", "Soc"]), ["soc", "SOC_2", "Soc_3"]);
        assert_eq!(unique(&["soc", "SOC", "soc_2"]), ["soc", "SOC_3", "soc_2"]);
        assert_eq!(unique(&["time", "TIME", "time_2"]), ["time_3", "TIME_4", "time_2"]);
        assert_eq!(unique(&["straße", "STRASSE", "Ｓ"]), ["straße", "STRASSE_2", "Ｓ"]);
        assert_eq!(unique(&["é", "e\u{301}", "É"]), ["é", "e\u{301}_2", "É_3"]);
        assert_eq!(
            unique(&["k", "\u{212a}", "i", "ı", "İ", "I"]),
            ["k", "\u{212a}_2", "i", "ı_2", "İ_3", "I_4"]
        );
        assert_eq!(unique(&["ς", "Σ", "soc ", " SOC"]), ["ς", "Σ_2", "soc ", " SOC_2"]);
    }

    #[test]
    fn a8_files_have_names_for_windows() {
        assert_eq!(
            files(&["CON", "con", "Com1", "lpt¹", "COM10", "a:b", "a_b", "NUL_"]),
            ["CON_", "con__2", "Com1_", "lpt¹_", "COM10", "a_b", "a_b_2", "NUL_"]
        );
    }
}
