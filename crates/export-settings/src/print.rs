//! What programs print: results on standard output, everything else on standard error. No failure
//! to print panics.
//!
//! Programs never use `println!` and `eprintln!`, which panic if the reader has closed the pipe or
//! the disk is full; lints forbid them (`print_stdout`, and `print_stderr` in the programs' crates).

use std::io::{self, Write};

/// Standard output.
///
/// A failure to write does not stop the work whose results are printed: it ends the output, and
/// [`end`](Self::end) returns it. If the reader has closed the pipe, as `head` does, the rest is
/// discarded without an error. Work that only makes output can stop when there is no reader
/// ([`has_reader`](Self::has_reader)).
#[derive(Debug, Default)]
pub struct Output {
    /// The first failure to write; nothing is written after it.
    failure: Option<io::Error>,
}

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct OutputError(#[source] io::Error);

impl Output {
    /// Prints a text and a line break.
    pub fn line(&mut self, text: &str) {
        self.write(&[text.as_bytes(), b"\n"]);
    }

    /// Prints a text that ends with its own line break.
    pub fn text(&mut self, text: &str) {
        self.write(&[text.as_bytes()]);
    }

    /// Whether all that was printed so far was written.
    pub fn has_reader(&self) -> bool {
        self.failure.is_none()
    }

    /// The failure to write, unless the reader has closed the pipe.
    pub fn end(self) -> Result<(), OutputError> {
        match self.failure {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(OutputError(error)),
            _ => Ok(()),
        }
    }

    fn write(&mut self, parts: &[&[u8]]) {
        if self.has_reader() {
            let mut output = io::stdout().lock();
            let written = parts.iter().try_for_each(|part| output.write_all(part));
            self.record(written.and_then(|()| output.flush()));
        }
    }

    fn record(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.failure.get_or_insert(error);
        }
    }
}

/// Prints a line on standard error. A failure to write is ignored, because there is no place left
/// to report it.
pub fn note(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

/// Prints what the argument parser says, and ends the process: help and version with 0, errors with
/// 2; help that cannot be written with 1.
pub(crate) fn end_with(message: &clap::Error) -> ! {
    let mut output = Output::default();
    let printed = message.print().and_then(|()| io::stdout().flush());
    if !message.use_stderr() {
        output.record(printed);
    }
    if let Err(error) = output.end() {
        note(&format!("error: {error}"));
        std::process::exit(1)
    }
    std::process::exit(message.exit_code())
}
