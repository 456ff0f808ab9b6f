//! What people see: lines on standard error, a bar on a terminal; results go to standard output.

use std::io::{self, Write};

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Standard error, shared by lines and bars.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    bars: MultiProgress,
    is_quiet: bool,
}

impl Console {
    /// A quiet one shows errors only, and those are not its business.
    pub(crate) fn new(is_quiet: bool) -> Self {
        Self { bars: MultiProgress::new(), is_quiet }
    }

    /// A line.
    pub(crate) fn tell(&self, line: &str) {
        if !self.is_quiet {
            // Whoever has closed it does not want to know.
            self.bars.suspend(|| writeln!(io::stderr(), "{line}").ok());
        }
    }

    /// Whether bars can be seen.
    pub(crate) fn has_bars(&self) -> bool {
        !self.is_quiet && !self.bars.is_hidden()
    }

    /// A bar; hidden where standard error is no terminal. In indicatif's words for its parts.
    pub(crate) fn bar(&self, length: u64, template: &str) -> ProgressBar {
        if !self.has_bars() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(length);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        self.bars.add(bar)
    }
}

/// A result, with a line break after it. Who reads no further, as `head` does, ends the program in good order.
pub(crate) fn out(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        outcome => outcome.context("standard output cannot be written"),
    }
}

/// Text of others as it may be shown: a name or a message cannot move the cursor or change colours.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}
