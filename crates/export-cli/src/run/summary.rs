//! The lines that `exports run` prints at its end: figures and warnings.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use export_core::manifest::Manifest;
use indicatif::HumanCount;

use super::progress::per_second;

/// Most paths that the warning about a dump names.
const PATHS_SHOWN: usize = 5;

/// One line of figures.
pub(crate) fn figures(target: &Path, manifest: &Manifest, bytes: u64, elapsed: Duration) -> String {
    let totals = &manifest.totals;
    let mut line = format!(
        "{}: {}, {}, {}, {} in {:.1} s ({} rows/s)",
        target.display(),
        count(totals.vehicles, "vehicle"),
        count(totals.rows, "row"),
        count(totals.counts.points_read, "point"),
        count(bytes, "byte"),
        elapsed.as_secs_f64(),
        HumanCount(per_second(totals.rows, elapsed)),
    );
    let rejected: Vec<String> = [(totals.counts.rejected, "point"), (totals.rejected_documents, "document")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| count(number, what))
        .collect();
    if !rejected.is_empty() {
        // Writing to a String cannot fail.
        let _ =
            write!(line, "; rejected: {} (manifest.json in it says which and why)", rejected.join(" and "));
    }
    line
}

/// A warning about paths of a dump that were skipped; `None` if there are none.
pub(crate) fn warning(skipped: &[PathBuf]) -> Option<String> {
    if skipped.is_empty() {
        return None;
    }
    let mut names: Vec<String> =
        skipped.iter().take(PATHS_SHOWN).map(|path| path.display().to_string()).collect();
    if skipped.len() > PATHS_SHOWN {
        names.push(format!("{} more", skipped.len() - PATHS_SHOWN));
    }
    Some(format!(
        "warning: skipped, because no vehicle or parameter can have such a name: {}",
        names.join(", ")
    ))
}

fn count(number: u64, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {what}{ending}", HumanCount(number))
}

#[cfg(test)]
mod tests {
    use export_core::manifest::{Counts, RangeText, ResolvedRequest, Totals};
    use export_core::output::OutputOptions;

    use super::*;

    fn manifest(rejected: u64, rejected_documents: u64) -> Manifest {
        let counts = Counts { points_read: 2_500_000, rejected, ..Counts::default() };
        Manifest {
            version: 1,
            request: ResolvedRequest {
                start_date: String::new(),
                end_date: String::new(),
                timezone: String::new(),
                range: RangeText { from: String::new(), to: String::new() },
                vehicles: Vec::new(),
                parameters: Vec::new(),
                output: OutputOptions::default(),
            },
            vehicles: Vec::new(),
            totals: Totals { vehicles: 1, rows: 1_000_000, counts, rejected_documents, ..Totals::default() },
        }
    }

    #[test]
    fn figures_are_one_line() {
        let line = |rejected, documents| {
            figures(
                Path::new("a.zip"),
                &manifest(rejected, documents),
                8_351_425,
                Duration::from_millis(1_250),
            )
        };
        let clean =
            "a.zip: 1 vehicle, 1,000,000 rows, 2,500,000 points, 8,351,425 bytes in 1.2 s (800,000 rows/s)";
        assert_eq!(line(0, 0), clean);
        let hint = "(manifest.json in it says which and why)";
        assert_eq!(line(3, 1), format!("{clean}; rejected: 3 points and 1 document {hint}"));
        assert_eq!(line(0, 2), format!("{clean}; rejected: 2 documents {hint}"));
    }

    #[test]
    fn the_first_paths_skipped_are_named() {
        let paths = |count: usize| {
            (0..count).map(|number| PathBuf::from(format!("dump/v {number}"))).collect::<Vec<_>>()
        };
        assert_eq!(warning(&[]), None);
        let text = warning(&paths(7)).expect("a warning");
        assert!(text.ends_with(": dump/v 0, dump/v 1, dump/v 2, dump/v 3, dump/v 4, 2 more"), "{text}");
    }
}
