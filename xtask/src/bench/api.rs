//! `cargo xtask bench api`: accepting a job compared with its two bare operations, and a client's
//! latency beside many slow ones.
//!
//! A program of the crate `export-bench` measures; this command provides services and optimised
//! programs, and explains the figures.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::bench::machine;
use crate::bench::statistics::Spread;
use crate::layout::Layout;
use crate::programs::Purpose;
use crate::settings::Settings;
use crate::testing::throw_away;
use crate::{cli, console, document, foreground};

/// Time besides the measurements: starts, and connecting the slow clients.
const BESIDE: Duration = Duration::from_mins(5);
/// Measurements of a round.
const MEASUREMENTS: u32 = 4;

/// Measures, prints and writes the report.
pub(crate) fn run(arguments: &cli::BenchApi) -> anyhow::Result<()> {
    let layout = Layout::find()?;
    let settings = Settings::read(&layout)?;
    let purpose = if arguments.unoptimised { Purpose::BenchmarkUnoptimised } else { Purpose::Benchmark };
    let figures = throw_away::with_services(
        &layout,
        &settings,
        arguments.services,
        purpose,
        false,
        |endpoints, programs| {
            let program = programs.find("bench-api")?;
            let folder = program.parent().context("the programs are in a folder")?;
            console::step("measuring");
            let mut command = Command::new(&program);
            command.arg("--programs").arg(folder).envs(endpoints.for_tests(&settings)?);
            let flags = [
                ("--concurrency", arguments.concurrency.to_string()),
                ("--seconds", arguments.seconds.to_string()),
                ("--rounds", arguments.rounds.to_string()),
                ("--slow-clients", arguments.slow_clients.to_string()),
            ];
            command.args(flags.iter().flat_map(|(name, value)| [*name, value]));
            let measured = Duration::from_secs(arguments.seconds.into()) * arguments.rounds * MEASUREMENTS;
            let (status, text) = foreground::capture(&mut command, BESIDE + measured * 2)?;
            ensure!(status.success(), "bench-api failed ({status})");
            serde_json::from_str::<Value>(&text).context("bench-api printed no JSON")
        },
    )?;
    let text = report(&figures, &machine::describe(&layout), arguments)?;
    console::line(format_args!("\n{text}"));
    if let Some(path) = &arguments.report {
        document::replace(path, "bench-api", &text).with_context(|| path.display().to_string())?;
        console::step(format!("written to {}", path.display()));
    }
    Ok(())
}

fn report(figures: &Value, machine: &str, arguments: &cli::BenchApi) -> anyhow::Result<String> {
    let spread = |measurement: &str, figure: &str| {
        Spread::of(column(figures, measurement, figure))
            .with_context(|| format!("no {measurement} was measured"))
    };
    let mut text = format!(
        "`cargo xtask bench api --concurrency {} --seconds {} --rounds {} --slow-clients {}`{} on {machine}. Medians of {} rounds, smallest \
         and largest in brackets; ratios are taken within a round.\n\n",
        arguments.concurrency,
        arguments.seconds,
        arguments.rounds,
        arguments.slow_clients,
        if arguments.unoptimised { ", programs not optimised," } else { "" },
        arguments.rounds,
    );
    text += "| | per second | p50, ms | p99, ms |\n|---|---|---|---|\n";
    let titles = [
        ("bare", "insert (majority, journalled) and confirmed publish"),
        ("post", "`POST /export`"),
        ("idle", "`GET /export/{id}`, 200 a second"),
        ("crowded", "`GET /export/{id}` beside the slow clients"),
    ];
    for (measurement, title) in titles {
        let rate = spread(measurement, "perSecond")?;
        let [median, tail] = [spread(measurement, "p50Ms")?, spread(measurement, "p99Ms")?];
        let _ = writeln!(text, "| {title} | {rate:.0} | {median:.2} | {tail:.2} |");
    }
    text += "\n| ratio | target | found |\n|---|---|---|\n";
    let ratios = [
        ("`POST /export` per second / bare per second", "≥ 0.8", ratio(figures, "post", "bare", "perSecond")),
        ("`GET` p99 beside slow clients / alone", "≤ 2", ratio(figures, "crowded", "idle", "p99Ms")),
    ];
    for (name, target, found) in ratios {
        let _ = writeln!(text, "| {name} | {target} | {:.2} |", found.context("nothing was measured")?);
    }
    let open = Spread::of(numbers(&figures["slowOpen"])).context("no slow clients")?;
    let cut = Spread::of(numbers(&figures["slowCut"])).context("no slow clients")?;
    let _ = writeln!(
        text,
        "\nSlow clients open at the end of a measurement: {open:.0}; cut until then: {cut:.0}."
    );
    Ok(text)
}

fn ratio(figures: &Value, of: &str, by: &str, figure: &str) -> Option<Spread> {
    let pairs = column(figures, of, figure).into_iter().zip(column(figures, by, figure));
    Spread::of(pairs.map(|(of, by)| of / by))
}

/// One figure of a measurement, by round.
fn column(figures: &Value, measurement: &str, figure: &str) -> Vec<f64> {
    let rounds = figures[measurement].as_array().into_iter().flatten();
    rounds.filter_map(|round| round[figure].as_f64()).collect()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}
