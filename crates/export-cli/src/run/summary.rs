//! The lines that `exports run` prints at its end: figures and warnings.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use export_core::manifest::Manifest;
use export_core::source::UnreadReason;
use export_engine::{LeftOut, LeftOutReason};
use indicatif::HumanCount;

use super::progress::per_second;
use crate::print::{Rejected, count, warning_lines};

/// Most paths or collections that a warning names.
const NAMES_SHOWN: usize = 5;

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
    let rejected = Rejected::of(manifest).describe();
    if !rejected.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(line, "; rejected: {rejected} (manifest.json in it says which and why)");
    }
    let guarded: u64 = manifest.vehicles.iter().map(|vehicle| vehicle.guarded).sum();
    if guarded > 0 {
        let cells = count(guarded, "cell");
        let _ = write!(
            line,
            "; guarded: {cells} (a ' keeps spreadsheets from running them; --csv-guard off leaves it out)"
        );
    }
    line
}

/// Warnings about paths of a dump and collections that were skipped, one line for each reason, and
/// those of the manifest.
pub(crate) fn warnings(skipped: &[LeftOut], manifest: &Manifest) -> Vec<String> {
    let mut paths: BTreeMap<LeftOutReason, Vec<String>> = BTreeMap::new();
    for LeftOut { path, reason } in skipped {
        paths.entry(*reason).or_default().push(path.display().to_string());
    }
    let of_paths = paths.into_iter().map(|(reason, names)| {
        let text = match reason {
            LeftOutReason::UnusableName => "skipped, because no vehicle or parameter can have such a name",
            LeftOutReason::NotOfDump => "skipped, because mongodump has not written it",
            LeftOutReason::BrokenMetadata => "damaged metadata, so the names of the files were used",
        };
        format!("warning: {text}: {}", first_names(names.len(), &names))
    });
    let mut unread: BTreeMap<UnreadReason, (usize, Vec<String>)> = BTreeMap::new();
    for vehicle in &manifest.vehicles {
        for (reason, collections) in &vehicle.unread_collections {
            let (number, names) = unread.entry(*reason).or_default();
            *number += usize::try_from(collections.count).unwrap_or(usize::MAX);
            let room = NAMES_SHOWN.saturating_sub(names.len());
            names.extend(
                collections.names.iter().take(room).map(|name| format!("{}.{name}", vehicle.vehicle)),
            );
        }
    }
    let of_collections = unread.into_iter().map(|(reason, (number, names))| {
        let names = first_names(number, &names);
        match reason {
            UnreadReason::OtherIds => format!("warning: {} were not read, in: {names}", reason.describe()),
            _ => format!("warning: collections not read ({}): {names}", reason.describe()),
        }
    });
    of_paths.chain(of_collections).chain(warning_lines(&manifest.warnings)).collect()
}

fn first_names(number: usize, names: &[String]) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMES_SHOWN).cloned().collect();
    if number > shown.len() {
        shown.push(format!("{} more", number - shown.len()));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use export_core::manifest::{Counts, Totals, UnreadNames, VehicleManifest};
    use export_core::warnings::Warning;

    use super::*;

    fn manifest(rejected: u64, rejected_documents: u64) -> Manifest {
        let counts = Counts { points_read: 2_500_000, rejected, ..Counts::default() };
        Manifest {
            totals: Totals { vehicles: 1, rows: 1_000_000, counts, rejected_documents, ..Totals::default() },
            ..Manifest::default()
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
        assert_eq!(line(3, 1), format!("{clean}; rejected: 3 points, 1 document {hint}"));
        assert_eq!(line(0, 2), format!("{clean}; rejected: 2 documents {hint}"));
    }

    #[test]
    fn a11_guarded_cells_are_counted() {
        let vehicle = |guarded| VehicleManifest { guarded, ..VehicleManifest::default() };
        let manifest = Manifest { vehicles: vec![vehicle(1_200), vehicle(34)], ..manifest(0, 0) };
        let line = figures(Path::new("a.zip"), &manifest, 1, Duration::from_secs(1));
        assert!(line.contains("; guarded: 1,234 cells (a ' keeps spreadsheets from running them"), "{line}");
    }

    #[test]
    fn the_first_paths_skipped_are_named() {
        let paths = |count: usize| {
            let left_out = |number| LeftOut {
                path: format!("dump/v {number}").into(),
                reason: LeftOutReason::UnusableName,
            };
            (0..count).map(left_out).collect::<Vec<_>>()
        };
        assert!(warnings(&[], &manifest(0, 0)).is_empty());
        let empty = Manifest { warnings: [Warning::no_vehicle()].into_iter().collect(), ..manifest(0, 0) };
        assert!(warnings(&[], &empty)[0].starts_with("warning: the export has no vehicle"));
        let lines = warnings(&paths(7), &manifest(0, 0));
        assert_eq!(lines.len(), 1);
        let end = ": dump/v 0, dump/v 1, dump/v 2, dump/v 3, dump/v 4, 2 more";
        assert!(lines[0].ends_with(end), "{lines:?}");
    }

    #[test]
    fn a6_unread_collections_are_named_by_reason() {
        let mut manifest = manifest(0, 0);
        let names = |number: usize| (0..number).map(|name| format!("s{name}")).collect();
        let unread = BTreeMap::from([
            (UnreadReason::TimeSeries, UnreadNames { count: 30, names: names(20) }),
            (UnreadReason::View, UnreadNames { count: 1, names: names(1) }),
            (UnreadReason::OtherIds, UnreadNames { count: 1, names: names(1) }),
        ]);
        manifest.vehicles = vec![VehicleManifest {
            vehicle: "v".to_owned(),
            unread_collections: unread,
            ..Default::default()
        }];
        assert_eq!(
            warnings(&[], &manifest),
            [
                "warning: collections not read (time series): v.s0, v.s1, v.s2, v.s3, v.s4, 25 more",
                "warning: collections not read (views): v.s0",
                "warning: documents whose _id is no number were not read, in: v.s0",
            ]
        );
    }
}
