//! The slowest tests of a run.

use crate::console;
use crate::testing::report::Test;

/// How many are listed.
const LISTED: usize = 10;

/// Prints the slowest of these tests.
pub(super) fn print(ran: &[Test]) {
    if ran.is_empty() {
        return;
    }
    let total_seconds: f64 = ran.iter().map(|test| test.seconds).sum();
    console::step(format!(
        "the slowest of {} tests, which took {total_seconds:.0} s in total (tests run side by side)",
        ran.len()
    ));
    let mut slowest: Vec<&Test> = ran.iter().collect();
    slowest.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    for test in slowest.iter().take(LISTED) {
        console::line(format_args!("  {:>7.1} s  {} {}", test.seconds, test.binary, test.name));
    }
}
