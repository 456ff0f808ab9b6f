//! The figures of `herd` as tables, each beside its target.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::Value;

use crate::bench::statistics::Spread;
use crate::cli::{self, Scenario};

/// The worker's memory limit in MiB, with two exports at a time.
const WORKER_MIB: f64 = 96.0;
/// Maximum latency of a foreground query, as a multiple of its latency without exports.
const MOST_P99_RATIO: f64 = 3.0;
/// Maximum share of the other tenant's burst that may have ended.
const MOST_SHARE: f64 = 0.1;
/// Maximum time between the expiry of a lease and its detection.
const LEASE_MARGIN_SECONDS: f64 = 3.0;

/// All tables.
pub(crate) fn text(figures: &Value, machine: &str, arguments: &cli::Herd) -> anyhow::Result<String> {
    let mut text = format!(
        "`cargo xtask herd --exports {} --tenants {} --behind {} --killed {} --workers {} --rounds {} --idle-seconds {}`{} on {machine}. Medians \
         of {} rounds, smallest and largest in brackets; ratios are taken within a round. The ratio of p99 meets its target by its median, everything else by its worst round.\n",
        arguments.exports,
        arguments.tenants,
        arguments.behind,
        arguments.killed,
        arguments.workers,
        arguments.rounds,
        arguments.idle_seconds,
        if arguments.unoptimised { ", programs not optimised," } else { "" },
        arguments.rounds,
    );
    for scenario in Scenario::ALL {
        let found = &figures[scenario.name()];
        if found.is_null() {
            continue;
        }
        let title = match scenario {
            Scenario::Burst => {
                format!("{} exports of {} tenants at once", arguments.exports, arguments.tenants)
            }
            Scenario::Behind => format!("One small export behind another tenant's {}", arguments.behind),
            Scenario::Killed => format!("A worker killed among {} large exports", arguments.killed),
            Scenario::Identical => "Ten identical requests at once".to_owned(),
        };
        let _ = write!(text, "\n### {title}\n\n");
        if let Some(why) = found["failed"].as_str() {
            let _ = writeln!(text, "**Not played to its end**: {why}.");
            continue;
        }
        text += "| | target | found | |\n|---|---|---|---|\n";
        let rows = match scenario {
            Scenario::Burst => burst(found, arguments),
            Scenario::Behind => behind(found),
            Scenario::Killed => killed(found, arguments),
            Scenario::Identical => identical(found),
        };
        for row in rows.with_context(|| format!("the figures of {}", scenario.name()))? {
            let _ = writeln!(text, "| {} | {} | {} | {} |", row.name, row.target, row.found, row.verdict);
        }
        for wrong in found["wrong"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let _ = writeln!(text, "\n**Wrong**: {wrong}.");
        }
    }
    Ok(text)
}

struct Row {
    name: &'static str,
    target: String,
    found: String,
    verdict: &'static str,
}

impl Row {
    /// A figure without a target.
    fn plain(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, target: String::new(), found: found.into(), verdict: "" }
    }

    fn judged(name: &'static str, target: impl Into<String>, found: impl Into<String>, is_met: bool) -> Self {
        let verdict = if is_met { "met" } else { "**missed**" };
        Self { name, target: target.into(), found: found.into(), verdict }
    }
}

fn burst(found: &Value, arguments: &cli::Herd) -> anyhow::Result<Vec<Row>> {
    let of = |path: &str| spread(found, path);
    // If none is finished, the state is missing.
    let finished = rounds(found, |round| Some(at(round, "/states/FINISHED").unwrap_or_default()))?;
    let p99 = ratio(found, "/loaded/p99Ms", "/idle/p99Ms")?;
    let cursors = rounds(found, |round| Some(at(round, OPEN_LOADED)? - at(round, OPEN_IDLE)?))?;
    let source = of("/seenLoaded/sourceCursors")?;
    let most_cursors = arguments.workers * arguments.max_cursors;
    let peaks = rounds(found, |round| {
        let peaks = round["workerPeakBytes"].as_array()?.iter().filter_map(Value::as_f64);
        Some(Spread::of(peaks)?.max / f64::from(1 << 20))
    })?;
    let tenants = |field: &str, pick: fn(Spread) -> f64| {
        rounds(found, |round| {
            let times = round["tenants"].as_array()?.iter().filter_map(|tenant| tenant[field].as_f64());
            Spread::of(times).map(pick)
        })
    };
    let tenants = |field: &str| -> anyhow::Result<String> {
        let (first, last) = (tenants(field, |times| times.min)?, tenants(field, |times| times.max)?);
        Ok(format!("{:.1}–{:.1}", first.median, last.median))
    };
    let same =
        |spread: &Spread, wanted: f64| (spread.min - wanted).abs() < 0.5 && (spread.max - wanted).abs() < 0.5;
    let exports = f64::from(arguments.exports);
    Ok(vec![
        Row::judged(
            "finished",
            arguments.exports.to_string(),
            format!("{finished:.0}"),
            same(&finished, exports),
        ),
        Row::plain("results downloaded and counted", format!("{:.0}", of("/verified")?)),
        Row::plain("posting all of them, s", format!("{:.2}", of("/postingSeconds")?)),
        Row::plain("answers 429", format!("{:.0}", of("/refusals")?)),
        Row::plain("until all had ended, s", format!("{:.1}", of("/seconds")?)),
        Row::plain("exports per second", format!("{:.1}", of("/exportsPerSecond")?)),
        Row::plain("half of a tenant's had ended after, first to last tenant, s", tenants("halfSeconds")?),
        Row::plain("all of a tenant's had ended after, first to last tenant, s", tenants("allSeconds")?),
        Row::plain("point query before, p50 / p99, ms", pair(found, "idle")?),
        Row::plain("point query beside the exports, p50 / p99, ms", pair(found, "loaded")?),
        Row::judged(
            "its p99 beside the exports / before",
            "≤ 3",
            format!("{p99:.2}"),
            p99.median <= MOST_P99_RATIO,
        ),
        Row::plain(
            "p99 measured from sending (without the client's own delay), beside the exports / before",
            format!("{:.2}", ratio(found, "/loadedSent/p99Ms", "/idleSent/p99Ms")?),
        ),
        Row::judged(
            "most open cursors, beyond those before",
            format!("≤ {most_cursors}"),
            format!("{cursors:.0}"),
            cursors.max <= f64::from(most_cursors),
        ),
        Row::judged(
            "most operations and cursors of the service in the vehicles' databases",
            format!("≤ {most_cursors}"),
            format!("{source:.0}"),
            source.max <= f64::from(most_cursors),
        ),
        Row::plain("reads that a worker allowed itself at a time", limits(found)),
        Row::judged(
            "most memory of a worker, MiB",
            format!("≤ {WORKER_MIB:.0}"),
            format!("{peaks:.1}"),
            peaks.max <= WORKER_MIB,
        ),
    ])
}

const OPEN_IDLE: &str = "/seenIdle/openCursors";
const OPEN_LOADED: &str = "/seenLoaded/openCursors";

/// The workers' own metrics, if they have them.
fn limits(found: &Value) -> String {
    let of = |path: &str| spread(found, path).ok();
    match (of("/limits/leastLimit"), of("/limits/mostLimit"), of("/limits/decreases")) {
        (Some(least), Some(most), Some(decreases)) => {
            format!("{:.0}–{:.0}, lowered {:.0} times", least.min, most.max, decreases.max)
        }
        _ => "not reported".to_owned(),
    }
}

fn pair(found: &Value, phase: &str) -> anyhow::Result<String> {
    let of = |percentile: &str| spread(found, &format!("/{phase}/{percentile}"));
    Ok(format!("{:.2} / {:.2}", of("p50Ms")?, of("p99Ms")?))
}

fn behind(found: &Value) -> anyhow::Result<Vec<Row>> {
    let percent = |path: &str| rounds(found, |round| Some(at(round, path)? * 100.0));
    let share = percent("/finishedShare")?;
    let meanwhile =
        rounds(found, |round| Some((at(round, "/finishedShare")? - at(round, "/acceptedShare")?) * 100.0))?;
    Ok(vec![
        Row::plain("posting the others' burst, s", format!("{:.2}", spread(found, "/postingSeconds")?)),
        Row::plain("the others' burst took, s", format!("{:.1}", spread(found, "/burstSeconds")?)),
        Row::plain(
            "of it had ended when the small one came, %",
            format!("{:.1}", percent("/acceptedShare")?),
        ),
        Row::judged(
            "of it had ended when the small one was finished, %",
            "< 10",
            format!("{share:.1}"),
            share.max < MOST_SHARE * 100.0,
        ),
        Row::plain("of it ended meanwhile, %", format!("{meanwhile:.1}")),
        Row::plain("the small one took, s", format!("{:.2}", spread(found, "/smallSeconds")?)),
    ])
}

fn killed(found: &Value, arguments: &cli::Herd) -> anyhow::Result<Vec<Row>> {
    let number = |path: &str| at(found, path).with_context(|| format!("no {path}"));
    let lease = f64::from(arguments.lease_seconds);
    let target = format!("≤ {lease:.0} + {LEASE_MARGIN_SECONDS:.0}");
    let is_met = |seconds: f64| seconds <= lease + LEASE_MARGIN_SECONDS;
    let places = match at(found, "/placesFreeSeconds") {
        Some(seconds) => {
            Row::judged("its places were free after, s", &target, format!("{seconds:.1}"), is_met(seconds))
        }
        None => Row::judged("its places were free after, s", &target, "it held none", false),
    };
    let jobs = number("/jobsFreeSeconds")?;
    let is_all_finished = found["wrong"].as_array().is_some_and(Vec::is_empty);
    Ok(vec![
        Row::plain("ended before", format!("{:.0}", number("/endedBefore")?)),
        Row::plain("the killed worker's places", format!("{:.0}", number("/heldPlaces")?)),
        Row::plain("the killed worker's exports", format!("{:.0}", number("/heldJobs")?)),
        places,
        Row::judged("leases of its exports had passed after, s", &target, format!("{jobs:.1}"), is_met(jobs)),
        Row::plain(
            "its exports were another worker's after, s",
            format!("{:.1}", number("/jobsTakenSeconds")?),
        ),
        Row::judged(
            "all exports finished",
            "yes",
            if is_all_finished { "yes" } else { "no" },
            is_all_finished,
        ),
        Row::plain("until all had ended, s", format!("{:.1}", number("/seconds")?)),
        Row::plain("exports with more than one attempt", format!("{:.0}", number("/repeated")?)),
    ])
}

fn identical(found: &Value) -> anyhow::Result<Vec<Row>> {
    let [alone, all] = [spread(found, "/aloneReads")?, spread(found, "/identicalReads")?];
    let times = ratio(found, "/identicalReads", "/aloneReads")?;
    let uris = spread(found, "/exportUris")?;
    Ok(vec![
        Row::plain("reads of the source for one export", format!("{alone:.0}")),
        Row::plain("reads of the source for ten", format!("{all:.0}")),
        Row::judged("ten / one", "≤ 1.05", format!("{times:.2}"), times.max <= 1.05),
        Row::plain("finished", format!("{:.0}", spread(found, "/finished")?)),
        Row::judged("different results", "1", format!("{uris:.0}"), uris.max < 1.5),
        Row::plain("jobs that share a result", format!("{:.0}", spread(found, "/shared")?)),
    ])
}

fn at(value: &Value, path: &str) -> Option<f64> {
    value.pointer(path).and_then(Value::as_f64)
}

/// One figure of every round.
fn rounds(found: &Value, figure: impl Fn(&Value) -> Option<f64>) -> anyhow::Result<Spread> {
    let rounds = found["rounds"].as_array().context("no rounds")?;
    let figures: Option<Vec<f64>> = rounds.iter().map(figure).collect();
    Spread::of(figures.context("a round lacks a figure")?).context("no rounds")
}

fn spread(found: &Value, path: &str) -> anyhow::Result<Spread> {
    rounds(found, |round| at(round, path)).with_context(|| path.to_owned())
}

fn ratio(found: &Value, of: &str, by: &str) -> anyhow::Result<Spread> {
    rounds(found, |round| Some(at(round, of)? / at(round, by)?)).with_context(|| format!("{of} / {by}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{behind, identical};

    #[test]
    fn a_target_is_met_when_every_round_meets_it() {
        let round = |share| json!({ "postingSeconds": 1, "burstSeconds": 40, "acceptedShare": 0.01, "finishedShare": share, "smallSeconds": 1 });
        let verdict = |shares: [f64; 2]| {
            let found = json!({ "rounds": shares.map(round) });
            behind(&found).unwrap().into_iter().find(|row| row.target == "< 10").unwrap().verdict
        };
        assert_eq!(verdict([0.02, 0.09]), "met");
        assert_eq!(verdict([0.02, 0.11]), "**missed**");
    }

    #[test]
    fn reads_are_compared_within_a_round() {
        let round = |alone: u32, all: u32| json!({ "aloneReads": alone, "identicalReads": all, "finished": 10, "exportUris": 1, "shared": 9 });
        let found = json!({ "rounds": [round(10, 10), round(20, 20)] });
        let rows = identical(&found).unwrap();
        assert!(rows.iter().any(|row| row.found == "1.00 (1.00–1.00)" && row.verdict == "met"));
        assert!(identical(&json!({ "rounds": [{}] })).is_err());
    }
}
