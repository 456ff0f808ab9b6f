//! Everything that the program prints: results on standard output, all other lines on standard
//! error.

use std::io::{self, Write};

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressBar, ProgressFinish, ProgressStyle};

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

    /// Prints a line, unless the console is quiet.
    pub(crate) fn note(&self, line: &str) {
        if !self.is_quiet {
            self.bars.suspend(|| note(line));
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

/// Prints a line on standard error. A failure to write is ignored: the user has closed it.
pub(crate) fn note(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

/// Prints a result and a line break on standard output. If the reader has closed the pipe, as
/// `head` does, the program ends with exit code 0.
pub(crate) fn result(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        outcome => outcome.context("cannot write to standard output"),
    }
}

/// Replaces control characters, so that text from outside (a name, a message) cannot move the
/// cursor or change colours.
pub(crate) fn sanitized(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
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
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [(59, "59 s"), (90, "1 min 30 s"), (2 * 3600 + 61, "2 h 1 min")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
