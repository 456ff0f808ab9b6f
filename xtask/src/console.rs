//! What the commands print: one line per step, and the end of a log where something went wrong.

use std::fs;
use std::path::Path;

/// Lines of a log that an error message carries.
const TAIL_LINES: usize = 20;
/// Longest part of a line in it: MongoDB writes lines of several kilobytes.
const TAIL_LINE_CHARACTERS: usize = 300;

/// One step: what is done and why, in one line.
pub(crate) fn step(message: impl AsRef<str>) {
    println!("▸ {}", message.as_ref());
}

/// A fact under a step.
pub(crate) fn detail(name: &str, value: impl AsRef<str>) {
    println!("  {name:<10} {}", value.as_ref());
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

/// A URI without the name and password in it, for printing.
pub(crate) fn without_credentials(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{tail, without_credentials};

    #[test]
    fn credentials_are_not_printed() {
        assert_eq!(without_credentials("mongodb://root:p%40ss@db:27017/?a=b@c"), "mongodb://db:27017/?a=b@c");
        assert_eq!(without_credentials("amqp://127.0.0.1:5673/%2f"), "amqp://127.0.0.1:5673/%2f");
        assert_eq!(without_credentials("mongodb://u:p@ss@h1,h2"), "mongodb://h1,h2");
    }

    #[test]
    fn a_missing_log_is_an_empty_log() {
        assert_eq!(tail("/nonexistent.log".as_ref()), "/nonexistent.log is empty");
    }
}
