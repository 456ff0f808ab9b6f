//! Progress of one export: a bar on a terminal, a line now and then elsewhere.

use crate::console;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// The bar's resolution: a tenth of a percent.
const STEPS_PER_PERCENT: f64 = 10.0;
const STEPS: u64 = 1000;
/// Interval between two lines if there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// Shows job documents as they come.
#[derive(Debug)]
pub(crate) struct Display {
    bar: ProgressBar,
    last_line: Option<(String, Instant)>,
}

impl Display {
    /// A bar if standard error is a terminal.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(STEPS);
        if let Ok(style) = ProgressStyle::with_template("  {bar:24} {wide_msg}") {
            bar.set_style(style);
        }
        Self { bar, last_line: None }
    }

    /// Shows a job's state and progress.
    pub(crate) fn show(&mut self, job: &Value) {
        let percent = job["progress"]["percent"].as_f64().unwrap_or(0.0);
        let message = message(job, percent);
        if self.bar.is_hidden() {
            self.line(job["state"].as_str().unwrap_or_default(), &message);
            return;
        }
        self.bar.set_message(message);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the bar's length, and for the eye only"
        )]
        self.bar.set_position((percent.clamp(0.0, 100.0) * STEPS_PER_PERCENT) as u64);
    }

    /// Keeps the last state on the screen.
    pub(crate) fn finish(&self) {
        self.bar.abandon();
    }

    /// A line for every new state, else one per interval.
    fn line(&mut self, state: &str, message: &str) {
        let is_due =
            self.last_line.as_ref().is_none_or(|(last, at)| last != state || at.elapsed() >= LINE_INTERVAL);
        if is_due {
            console::line(format_args!("  {message}"));
            self.last_line = Some((state.to_owned(), Instant::now()));
        }
    }
}

fn message(job: &Value, percent: f64) -> String {
    let progress = &job["progress"];
    let number = |name: &str| progress[name].as_u64().unwrap_or(0);
    format!(
        "{} {percent:.1} %, {} of {} vehicles, {} rows, {} bytes",
        job["state"].as_str().unwrap_or("?"),
        number("vehiclesDone"),
        number("vehiclesTotal"),
        number("rows"),
        number("bytes"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::message;

    #[test]
    fn a_job_in_one_line() {
        let job = json!({ "state": "STARTED", "progress": {
            "percent": 42.5, "vehiclesDone": 1, "vehiclesTotal": 3, "rows": 7, "points": 9, "bytes": 11 } });
        let expected = "STARTED 42.5 %, 1 of 3 vehicles, 7 rows, 11 bytes";
        assert_eq!(message(&job, 42.5), expected);
        assert!(message(&json!({ "state": "NOT_STARTED" }), 0.0).starts_with("NOT_STARTED 0.0 %"));
    }
}
