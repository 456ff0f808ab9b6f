//! The results as Markdown, which is read on a terminal as well.

use std::fmt::Write as _;

use crate::bench::Measured;
use crate::bench::data::Data;
use crate::bench::measure::Run;
use crate::bench::statistics::Spread;
use crate::cli::{self, Contestant};

const MIB: f64 = 1024.0 * 1024.0;
/// Processes by their names in the stack and in the report.
const PARTS: [(&str, &str); 6] = [
    ("exports-worker", "worker"),
    ("exports-api", "API"),
    ("exports", "exports"),
    ("mongodb", "mongod"),
    ("s3", "S3 server"),
    ("rabbitmq", "RabbitMQ"),
];

/// All measurements.
pub(crate) fn text(measured: &[Measured], machine: &str, notes: &[String], arguments: &cli::Bench) -> String {
    let growth = if arguments.growth { " --growth" } else { "" };
    let mut text = format!(
        "`cargo xtask bench --vehicles {} --days {} --rounds {}{growth}` on {machine}. Medians of {} rounds, smallest and largest in \
         brackets; ratios are taken within a round.\n",
        arguments.vehicles, arguments.days, arguments.rounds, arguments.rounds,
    );
    for note in notes {
        let _ = writeln!(text, "\n{note}");
    }
    for sized in measured {
        text += &section(sized);
    }
    if let [small, large] = measured {
        text += &growth_section(small, large);
    }
    text
}

fn section(sized: &Measured) -> String {
    let Data { size, documents, expected, .. } = &sized.data;
    let mut text = format!("\n### {} vehicles, {} days\n\n", size.vehicles, size.days);
    let _ = writeln!(
        text,
        "{} points, {} rows; {} documents of {:.1} MB in all; {:.1} MB of CSV. Every contestant's CSVs are the same bytes.\n",
        thousands(sized.data.points),
        thousands(sized.data.rows),
        thousands(*documents),
        megabytes(sized.data.bson_bytes),
        megabytes(expected.csv_bytes),
    );
    text +=
        "| | wall, s | × ceiling | CPU s per million points | × ceiling | peak memory, MiB | compression |\n";
    text += "|---|---|---|---|---|---|---|\n";
    for contestant in contestants(sized) {
        text += &line(sized, contestant);
    }
    text += &by_process(sized);
    text += &targets(sized);
    if !sized.kinds_peak_bytes.is_empty() {
        text += "\n| two exports at a time | the worker's VmHWM, MiB (target: ≤ 96) |\n|---|---|\n";
        for (kind, bytes) in &sized.kinds_peak_bytes {
            let _ = writeln!(text, "| {kind} | {:.1} |", mebibytes(*bytes));
        }
    }
    text
}

fn line(sized: &Measured, contestant: Contestant) -> String {
    let points = sized.data.million_points();
    let wall = figures(sized, contestant, |run| Some(run.wall_seconds));
    let cpu = figures(sized, contestant, |run| Some(own_cpu(run)? / points));
    let peak = figures(sized, contestant, |run| Some(mebibytes(run.peak_rss_bytes?)));
    let compression = figures(sized, contestant, compression);
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |\n",
        contestant.title(),
        shown(wall, 3),
        median(ratio(sized, contestant, Contestant::Ceiling, |run| Some(run.wall_seconds)), 2),
        shown(cpu, 3),
        median(ratio(sized, contestant, Contestant::Ceiling, own_cpu), 2),
        // A peak only rises, so the largest is the current one.
        peak.map_or_else(|| "–".to_owned(), |peak| format!("{:.0}", peak.max)),
        median(compression, 2),
    )
}

fn by_process(sized: &Measured) -> String {
    let mut text = "\nCPU seconds per million points of the processes that take part:\n\n".to_owned();
    let points = sized.data.million_points();
    for contestant in contestants(sized) {
        let parts = PARTS.iter().filter_map(|(part, name)| {
            let cpu = figures(sized, contestant, |run| Some(cpu_of(run, part)? / points))?;
            Some(format!("{name} {:.3}", cpu.median))
        });
        let parts: Vec<String> = parts.collect();
        if !parts.is_empty() {
            let _ = writeln!(text, "- {}: {}", contestant.title(), parts.join(", "));
        }
    }
    let own = figures(sized, Contestant::Service, |run| run.own_seconds);
    if let Some(own) = own {
        let _ = writeln!(text, "\nThe service's own `durationMs`: {own:.3} s.");
    }
    if let Some([single, pair]) = sized.worker_peak_bytes {
        let _ = writeln!(
            text,
            "\nThe worker's VmHWM: {:.1} MiB after the rounds, {:.1} MiB after two more exports at the same time.",
            mebibytes(single),
            mebibytes(pair),
        );
    }
    text
}

/// The targets of issue and documentation, as far as they were measured.
fn targets(sized: &Measured) -> String {
    let wall = |run: &Run| Some(run.wall_seconds);
    let size = |run: &Run| Some(mebibytes(run.output.as_ref()?.compressed_bytes));
    let rows = [
        (
            "engine CPU / ceiling CPU",
            "≤ 1.25",
            ratio(sized, Contestant::Engine, Contestant::Ceiling, own_cpu),
        ),
        ("engine wall / ceiling wall", "≤ 1.25", ratio(sized, Contestant::Engine, Contestant::Ceiling, wall)),
        ("engine's compression", "≥ 3.9", figures(sized, Contestant::Engine, compression)),
        (
            "service wall / ceiling wall",
            "≤ 1.6",
            ratio(sized, Contestant::Service, Contestant::Ceiling, wall),
        ),
        ("service wall / drain wall", "", ratio(sized, Contestant::Service, Contestant::Drain, wall)),
        ("Python wall / service wall", "≥ 20", ratio(sized, Contestant::Python, Contestant::Service, wall)),
        ("Python wall / `exports run` wall", "", ratio(sized, Contestant::Python, Contestant::Run, wall)),
        ("engine CPU / earlier", "", ratio(sized, Contestant::Engine, Contestant::EarlierEngine, own_cpu)),
        ("engine wall / earlier", "", ratio(sized, Contestant::Engine, Contestant::EarlierEngine, wall)),
        ("`exports run` wall / earlier", "", ratio(sized, Contestant::Run, Contestant::EarlierRun, wall)),
        ("service wall / earlier", "", ratio(sized, Contestant::Service, Contestant::EarlierService, wall)),
        (
            "service's worker CPU / earlier",
            "",
            ratio(sized, Contestant::Service, Contestant::EarlierService, own_cpu),
        ),
        ("size of the zip / earlier", "", ratio(sized, Contestant::Engine, Contestant::EarlierEngine, size)),
    ];
    let mut text = "\n| ratio | target | found |\n|---|---|---|\n".to_owned();
    for (name, target, found) in rows {
        if let Some(found) = found {
            let _ = writeln!(text, "| {name} | {target} | {found:.2} |");
        }
    }
    text
}

fn growth_section(small: &Measured, large: &Measured) -> String {
    let mut text = format!(
        "\n### Growth\n\n{:.2} times the points. CPU seconds are the contestant's own process.\n\n",
        large.data.million_points() / small.data.million_points()
    );
    text += "| | CPU, s | grown | peak memory, MiB | grown |\n|---|---|---|---|---|\n";
    for contestant in contestants(large) {
        let cpu = |sized| figures(sized, contestant, own_cpu).map(|cpu| cpu.median);
        let peak = |sized| {
            figures(sized, contestant, |run| Some(mebibytes(run.peak_rss_bytes?))).map(|peak| peak.max)
        };
        let pair = |values: (Option<f64>, Option<f64>), decimals: usize| match values {
            (Some(small), Some(large)) if small > 0.0 => {
                format!("{small:.decimals$} → {large:.decimals$} | × {:.2}", large / small)
            }
            _ => "– | –".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            contestant.title(),
            pair((cpu(small), cpu(large)), 2),
            pair((peak(small), peak(large)), 1),
        );
    }
    if let (Some(small), Some(large)) = (small.worker_peak_bytes, large.worker_peak_bytes) {
        let [small, large] = [small[1], large[1]].map(mebibytes);
        let _ = writeln!(
            text,
            "| worker, two exports at a time | – | – | {small:.1} → {large:.1} | × {:.2} |",
            large / small
        );
    }
    for ((kind, small), (_, large)) in small.kinds_peak_bytes.iter().zip(&large.kinds_peak_bytes) {
        let [small, large] = [*small, *large].map(mebibytes);
        let _ = writeln!(
            text,
            "| worker, two of {kind} | – | – | {small:.1} → {large:.1} | × {:.2} |",
            large / small
        );
    }
    text
}

fn contestants(sized: &Measured) -> Vec<Contestant> {
    sized
        .rounds
        .first()
        .map(|round| round.iter().map(|(contestant, _)| *contestant).collect())
        .unwrap_or_default()
}

/// A figure of every round's run of a contestant.
fn figures(sized: &Measured, contestant: Contestant, figure: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
    Spread::of(sized.rounds.iter().filter_map(|round| figure(find(round, contestant)?)))
}

/// A figure as a multiple of another contestant's in the same round.
fn ratio(
    sized: &Measured,
    contestant: Contestant,
    of: Contestant,
    figure: impl Fn(&Run) -> Option<f64>,
) -> Option<Spread> {
    let ratios = sized
        .rounds
        .iter()
        .filter_map(|round| Some(figure(find(round, contestant)?)? / figure(find(round, of)?)?));
    Spread::of(ratios.filter(|ratio| ratio.is_finite()))
}

fn find(round: &[(Contestant, Run)], contestant: Contestant) -> Option<&Run> {
    round.iter().find(|(found, _)| *found == contestant).map(|(_, run)| run)
}

fn own_cpu(run: &Run) -> Option<f64> {
    run.cpu_seconds.first().map(|(_, seconds)| *seconds)
}

fn cpu_of(run: &Run, part: &str) -> Option<f64> {
    run.cpu_seconds.iter().find(|(name, _)| *name == part).map(|(_, seconds)| *seconds)
}

#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
fn compression(run: &Run) -> Option<f64> {
    let output = run.output.as_ref()?;
    (output.compressed_bytes > 0).then(|| output.csv_bytes as f64 / output.compressed_bytes as f64)
}

#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn shown(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| format!("{spread:.decimals$}"))
}

fn median(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| format!("{:.decimals$}", spread.median))
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!([0, 999, 1_000, 4_811_189].map(thousands), ["0", "999", "1,000", "4,811,189"]);
    }
}
