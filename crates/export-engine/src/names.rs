//! Names of columns and files: different in every program that opens them, and valid on every file
//! system.
//!
//! A parameter or a vehicle lends its name to a column or a file. A name that is equal to an earlier
//! one for some programs gets a number: the first of `_2`, `_3` … that makes it new. Names are
//! compared regardless of case, of Unicode form and of blanks at their ends.

use std::collections::HashSet;

use export_core::output::{CsvGuard, Format, OutputOptions};
use export_core::{Parameter, VehicleId};
use unicode_normalization::UnicodeNormalization as _;

use crate::encode::csv::text::guarded;

/// The column that every file has.
pub(crate) const TIME: &str = "time";

/// Names of devices, which Windows does not allow for files, whatever their extension.
const DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];
/// Names of devices with a number behind them.
const PORTS: [&str; 2] = ["COM", "LPT"];
const PORT_NUMBERS: &str = "0123456789¹²³";

/// The names of the parameters' columns.
pub(crate) fn column_names(parameters: &[Parameter], output: &OutputOptions) -> Vec<String> {
    let has_guard = output.format == Format::Csv && output.csv_guard == CsvGuard::On;
    let name = |parameter: &Parameter| {
        let name = parameter.as_str();
        if has_guard { guarded(name) } else { name.to_owned() }
    };
    unique(parameters.iter().map(name).collect(), Some(TIME))
}

/// The names of the vehicles' files.
///
/// The manifest's name is not among them: its extension is another one, and vehicles have no dots
/// in their names.
pub(crate) fn file_names<'a>(
    vehicles: impl Iterator<Item = &'a VehicleId>,
    output: &OutputOptions,
) -> Vec<String> {
    let extension = output.extension();
    let stems = unique(vehicles.map(|vehicle| file_stem(vehicle.as_str())).collect(), None);
    stems.into_iter().map(|stem| format!("{stem}.{extension}")).collect()
}

/// The vehicle's name, changed where Windows does not allow it.
fn file_stem(name: &str) -> String {
    let is_forbidden = |c: char| c.is_control() || "<>:\"/\\|?*".contains(c);
    let mut stem = name.replace(is_forbidden, "_");
    if is_device(&stem.to_uppercase()) {
        stem.push('_');
    }
    stem
}

fn is_device(upper: &str) -> bool {
    let is_number = |rest: &str| rest.chars().count() == 1 && PORT_NUMBERS.contains(rest);
    DEVICES.contains(&upper) || PORTS.iter().any(|port| upper.strip_prefix(port).is_some_and(is_number))
}

/// Makes names different from each other and from the reserved one.
fn unique(names: Vec<String>, reserved: Option<&str>) -> Vec<String> {
    let keys: Vec<String> = names.iter().map(|name| key(name)).collect();
    let mut seen: HashSet<String> = reserved.map(key).into_iter().collect();
    let mut taken: HashSet<String> = keys.iter().chain(&seen).cloned().collect();
    let mut numbered = |name: String| {
        let candidates = (2..=u64::MAX).map(|number| format!("{name}_{number}"));
        candidates.into_iter().find(|candidate| taken.insert(key(candidate))).unwrap_or(name)
    };
    let keyed = names.into_iter().zip(keys);
    keyed.map(|(name, key)| if seen.insert(key) { name } else { numbered(name) }).collect()
}

/// Equal for names that some program takes for the same.
///
/// Lowercase alone would not do: `ß`, `ẞ` and `SS` are one name for macOS, `ſ` and `s`, `ı`, `İ` and
/// `i`, `ς` and `σ` one for programs that compare uppercase or single characters (Spark). macOS also
/// takes composed and decomposed letters for the same.
fn key(name: &str) -> String {
    let decomposed: String = name.trim().nfd().collect();
    let upper = decomposed.to_lowercase().to_uppercase().nfd().collect::<String>();
    upper.replace("I\u{307}", "I")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str], output: OutputOptions) -> Vec<String> {
        let parameters: Vec<Parameter> = names.iter().map(|name| name.parse().expect("a name")).collect();
        column_names(&parameters, &output)
    }

    fn files(names: &[&str]) -> Vec<String> {
        let vehicles: Vec<VehicleId> = names.iter().map(|name| name.parse().expect("a name")).collect();
        file_names(vehicles.iter(), &OutputOptions::default())
    }

    #[test]
    fn a7_a_parameter_called_time_gets_a_number() {
        let output = OutputOptions::default();
        assert_eq!(columns(&["soc", "time"], output), ["soc", "time_2"]);
        assert_eq!(columns(&["TIME", "time", "time_2"], output), ["TIME_3", "time_4", "time_2"]);
        assert_eq!(columns(&["time ", "timer"], output), ["time _2", "timer"]);
    }

    #[test]
    fn a8_columns_differ_regardless_of_case() {
        let output = OutputOptions::default();
        assert_eq!(columns(&["soc", "SOC", "Soc"], output), ["soc", "SOC_2", "Soc_3"]);
        assert_eq!(columns(&["SOC", "soc", "SOC_2"], output), ["SOC", "soc_3", "SOC_2"]);
        assert_eq!(columns(&["ẞ", "ß", "ss", "ſs"], output), ["ẞ", "ß_2", "ss_3", "ſs_4"]);
        assert_eq!(
            columns(&["i", "ı", "İ", "K", "\u{212a}", "Ω", "\u{2126}"], output),
            ["i", "ı_2", "İ_3", "K", "\u{212a}_2", "Ω", "\u{2126}_2"]
        );
        assert_eq!(columns(&["é", "e\u{301}", "É"], output), ["é", "e\u{301}_2", "É_3"]);
    }

    #[test]
    fn a11_columns_have_the_guard_and_still_differ() {
        let guarded = OutputOptions::default();
        assert_eq!(columns(&["=1", "'=1", "-5"], guarded), ["'=1", "'=1_2", "-5"]);
        let unguarded = OutputOptions { csv_guard: CsvGuard::Off, ..guarded };
        assert_eq!(columns(&["=1", "'=1"], unguarded), ["=1", "'=1"]);
        let parquet = OutputOptions { format: Format::Parquet, ..guarded };
        assert_eq!(columns(&["=1", "time"], parquet), ["=1", "time_2"]);
    }

    #[test]
    fn a8_files_can_be_unpacked_everywhere() {
        assert_eq!(files(&["Bus", "bus", "BUS_2"]), ["Bus.csv", "bus_3.csv", "BUS_2.csv"]);
        assert_eq!(
            files(&["CON", "com¹", "nul", "NUL_", "COM", "LPT10"]),
            ["CON_.csv", "com¹_.csv", "nul_.csv", "NUL__2.csv", "COM.csv", "LPT10.csv"]
        );
        assert_eq!(files(&["a:b", "a?b", "a_b", "<x>"]), ["a_b.csv", "a_b_2.csv", "a_b_3.csv", "_x_.csv"]);
        assert_eq!(files(&["manifest"]), ["manifest.csv"]);
    }

    #[test]
    fn a8_the_longest_names_stay_short_enough_for_files() {
        let (long, other) = ("v".repeat(63), "V".repeat(63));
        let names = files(&[&long, &other]);
        assert!(names.iter().all(|name| name.len() <= 255), "{names:?}");
        assert_eq!(names[1], format!("{other}_2.csv"));
    }
}
