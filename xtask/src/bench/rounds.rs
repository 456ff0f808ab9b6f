//! The rounds: every contestant once in each, in another order each time.

use crate::bench::field::Field;
use crate::bench::measure::Run;
use crate::cli::Contestant;
use crate::{console, interrupt};

/// Runs all rounds; each one's results are in the contestants' own order.
pub(crate) fn run(
    field: &Field<'_>,
    contestants: &[Contestant],
    rounds: u32,
) -> anyhow::Result<Vec<Vec<(Contestant, Run)>>> {
    // The first read comes from the disk; no contestant should be charged for it.
    console::step("warming up");
    for contestant in contestants.iter().filter(|contestant| **contestant != Contestant::Python) {
        contestant.run(field)?;
    }
    (0..rounds as usize).map(|round| one(field, contestants, round)).collect()
}

fn one(
    field: &Field<'_>,
    contestants: &[Contestant],
    round: usize,
) -> anyhow::Result<Vec<(Contestant, Run)>> {
    let mut results = Vec::new();
    for contestant in order(contestants, round) {
        interrupt::check()?;
        let run = contestant.run(field)?;
        let name = format!("{contestant:?}").to_lowercase();
        console::detail(&format!("{} {name}", round + 1), format!("{:.3} s", run.wall_seconds));
        results.push((contestant, run));
    }
    results.sort_by_key(|(contestant, _)| *contestant);
    Ok(results)
}

/// Each round begins with another contestant, and every other round is reversed, so that no
/// contestant always follows the same one.
fn order(contestants: &[Contestant], round: usize) -> Vec<Contestant> {
    let mut order = contestants.to_vec();
    order.rotate_left(round % contestants.len().max(1));
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::order;
    use crate::cli::Contestant::{Ceiling, Drain, Run};

    #[test]
    fn the_order_changes_and_every_contestant_runs() {
        let all = [Ceiling, Run, Drain];
        assert_eq!(order(&all, 0), [Ceiling, Run, Drain]);
        assert_eq!(order(&all, 1), [Ceiling, Drain, Run]);
        assert_eq!(order(&all, 2), [Drain, Ceiling, Run]);
        assert!(order(&[], 7).is_empty());
    }
}
