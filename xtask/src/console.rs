//! Output of the commands: one line per step, and the end of the log after a failure.

use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

/// Number of lines of a log in an error message.
const TAIL_LINES: usize = 20;
/// Longest part of a line: MongoDB writes lines of several kilobytes.
const TAIL_LINE_CHARACTERS: usize = 300;

/// Prints a line. A command goes on where its reader is gone.
pub(crate) fn line(text: impl Display) {
    writeln!(io::stdout(), "{text}").ok();
}

/// Prints one step: the action and its reason.
pub(crate) fn step(message: impl AsRef<str>) {
    line(format_args!("▸ {}", message.as_ref()));
}

/// Prints a fact about the last step.
pub(crate) fn detail(name: &str, value: impl AsRef<str>) {
    line(format_args!("  {name:<10} {}", value.as_ref()));
}

/// The last lines of a log, each cut to a readable length, with the log's path above.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    if shown.is_empty() {
        return format!("{} is empty", log.display());
    }
    let mut tail = format!("the last lines of {}:", log.display());
    for line in shown {
        tail.push_str("\n    ");
        tail.extend(line.chars().take(TAIL_LINE_CHARACTERS));
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn a_missing_log_is_an_empty_log() {
        assert_eq!(tail("/nonexistent.log".as_ref()), "/nonexistent.log is empty");
    }
}
