//! Lines and progress bars on standard error, and the text in them. Results are printed by
//! [`Output`](export_settings::print::Output).

use export_core::manifest::Manifest;
use export_core::names::is_invisible;
use export_core::warnings::Warnings;
use export_settings::print::note;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressFinish, ProgressStyle};
use rustix::termios::tcgetwinsize;

use crate::progress_bar::{TransferBar, frame};

/// Width of a terminal that does not say it.
const USUAL_WIDTH: usize = 80;

/// Standard error, shared by lines and progress bars.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    bars: MultiProgress,
    is_quiet: bool,
}

impl Console {
    /// A quiet console prints neither notes nor bars, only warnings. Errors do not go through it.
    pub(crate) fn new(is_quiet: bool) -> Self {
        Self { bars: MultiProgress::new(), is_quiet }
    }

    /// Prints a line, unless the console is quiet. A terminal that is gone is no reason to fail.
    pub(crate) fn note(&self, line: &str) {
        if self.has_bars() {
            self.bars.println(line).ok();
        } else if !self.is_quiet {
            note(line);
        }
    }

    /// Prints warnings, also if the console is quiet: a scheduled export must not hide that it has no
    /// data.
    pub(crate) fn warnings(&self, lines: &[String]) {
        for line in lines {
            if self.has_bars() {
                self.note(line);
            } else {
                note(line);
            }
        }
    }

    /// Prints the line, if there is one.
    pub(crate) fn note_if(&self, line: Option<String>) {
        if let Some(line) = line {
            self.note(&line);
        }
    }

    /// Whether bars are visible: standard error is a terminal and the console is not quiet.
    pub(crate) fn has_bars(&self) -> bool {
        !self.is_quiet && !self.bars.is_hidden()
    }

    /// A line for [`show_share`], hidden where bars are not visible, and removed from the terminal
    /// when it is dropped.
    pub(crate) fn bar(&self) -> ProgressBar {
        if !self.has_bars() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::no_length().with_finish(ProgressFinish::AndClear);
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        self.bars.add(bar)
    }

    /// The progress of a transfer of so many bytes.
    pub(crate) fn transfer_bar(&self, total: u64) -> TransferBar {
        TransferBar::new(self.bar(), total, width)
    }
}

/// The number of columns of the terminal that standard error is.
fn width() -> usize {
    let columns = tcgetwinsize(std::io::stderr()).map_or(0, |size| size.ws_col);
    if columns == 0 { USUAL_WIDTH } else { columns.into() }
}

/// Shows a message on a line of [`Console::bar`], and the share that is done, from 0 to 1, if it is
/// known.
pub(crate) fn show_share(bar: &ProgressBar, share: Option<f64>, message: &str) {
    bar.set_message(frame(share, message, width()));
    bar.tick();
}

/// What an export could not use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rejected {
    pub(crate) points: u64,
    pub(crate) buckets: u64,
    pub(crate) documents: u64,
    /// Whether rejected buckets or documents may hold more points than were counted.
    pub(crate) has_uncounted: bool,
}

impl Rejected {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let totals = &manifest.totals;
        let containers = manifest
            .vehicles
            .iter()
            .flat_map(|vehicle| vehicle.rejected_buckets.values().chain(vehicle.rejected_documents.values()));
        Self {
            points: totals.counts.rejected,
            buckets: totals.rejected_buckets,
            documents: totals.rejected_documents,
            has_uncounted: containers.into_iter().any(|rejections| rejections.uncounted > 0),
        }
    }

    /// Such as "2 points, 1 document"; empty if nothing was rejected.
    pub(crate) fn describe(&self) -> String {
        let parts = [(self.points, "point"), (self.buckets, "bucket"), (self.documents, "document")];
        let mut parts: Vec<String> = parts
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| count(number, what))
            .collect();
        if self.has_uncounted {
            parts.push("an unknown number of points in them".to_owned());
        }
        parts.join(", ")
    }
}

/// A number of things: `1 point`, `2,000 points`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {what}{ending}", HumanCount(number))
}

/// Warnings as lines, with the number of those that are not listed.
pub(crate) fn warning_lines(warnings: &Warnings) -> Vec<String> {
    let listed = warnings.list.iter().map(|warning| format!("warning: {}", sanitized(&warning.message)));
    let more =
        (warnings.more > 0).then(|| format!("warning: {} not shown", count(warnings.more, "more warning")));
    listed.chain(more).collect()
}

/// A warning if an export has no rows. `rejected` describes what could not be exported; it is empty
/// if that is nothing.
pub(crate) fn warning_without_rows(rows: u64, rejected: &str) -> Option<String> {
    let reason = match rejected {
        "" => "the vehicles have no points in the range".to_owned(),
        _ => format!("rejected: {rejected} (see manifest.json)"),
    };
    (rows == 0).then(|| format!("warning: the export has no rows: {reason}"))
}

/// Replaces control characters and invisible ones, so that text from outside (a name, a message)
/// cannot move the cursor, change colours, or look like another text.
pub(crate) fn sanitized(text: &str) -> String {
    let is_harmful = |character: char| character.is_control() || is_invisible(character);
    text.chars().map(|character| if is_harmful(character) { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b2_an_export_without_rows_has_a_warning() {
        let warning =
            |rows, rejected: Rejected| warning_without_rows(rows, &rejected.describe()).unwrap_or_default();
        assert_eq!(warning(1, Rejected::default()), "");
        let start = "warning: the export has no rows: ";
        let nothing = "the vehicles have no points in the range";
        assert_eq!(warning(0, Rejected::default()), format!("{start}{nothing}"));
        for (rejected, text) in [
            (Rejected { points: 1_000, ..Rejected::default() }, "1,000 points"),
            (Rejected { points: 2, documents: 1, ..Rejected::default() }, "2 points, 1 document"),
            (
                Rejected { buckets: 1, has_uncounted: true, ..Rejected::default() },
                "1 bucket, an unknown number of points in them",
            ),
        ] {
            assert_eq!(warning(0, rejected), format!("{start}rejected: {text} (see manifest.json)"));
        }
    }

    #[test]
    fn b1_names_cannot_hide_characters() {
        assert_eq!(sanitized("so\u{202e}c\u{1b}[0m\u{ad}"), "so\u{fffd}c\u{fffd}[0m\u{fffd}");
    }
}
