//! Lines and progress bars on standard error, and the text in them. Results are printed by
//! [`Output`](export_settings::print::Output).

use export_core::manifest::Manifest;
use export_core::names::is_invisible;
use export_core::warnings::Warnings;
use export_settings::print::note;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressFinish, ProgressStyle};

/// Resolution of a bar that shows a share.
const STEPS: u32 = 1_000;

/// Standard error, shared by lines and progress bars.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    bars: MultiProgress,
    is_quiet: bool,
}

impl Console {
    /// A quiet console prints neither notes nor bars. Errors do not go through it.
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

    /// A bar of a share, for [`show_share`].
    pub(crate) fn share_bar(&self) -> ProgressBar {
        self.bar(STEPS.into(), "{bar:24} {wide_msg}")
    }

    /// A bar, hidden where bars are not visible, and removed from the terminal when it is dropped.
    /// `template` is in indicatif's syntax.
    pub(crate) fn bar(&self, length: u64, template: &str) -> ProgressBar {
        if !self.has_bars() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(length).with_finish(ProgressFinish::AndClear);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        self.bars.add(bar)
    }
}

/// Shows a share, from 0 to 1, and a message on a bar of [`Console::share_bar`].
pub(crate) fn show_share(bar: &ProgressBar, share: f64, message: String) {
    bar.set_message(message);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share: 0 to 1")]
    bar.set_position((share.clamp(0.0, 1.0) * f64::from(STEPS)) as u64);
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

/// Seconds as a person reads them: `2 h 1 min`.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
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

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [(59, "59 s"), (90, "1 min 30 s"), (2 * 3600 + 61, "2 h 1 min")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
