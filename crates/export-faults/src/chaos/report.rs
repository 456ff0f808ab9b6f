//! Figures of a run, as a section of Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::gather::LeftOver;
use super::invariants::Violation;
use super::play::Played;
use super::schedule::Schedule;

/// The groups of violations, in this order.
const CONSEQUENCES: [&str; 5] = ["lost", "doubled", "partial", "stuck", "other"];

/// Sums over all schedules of a run.
#[derive(Debug, Default)]
pub struct Totals {
    schedules: u32,
    states: BTreeMap<String, usize>,
    faults: BTreeMap<&'static str, usize>,
    consequences: BTreeMap<&'static str, usize>,
    accepted: usize,
    requests: usize,
    results: usize,
    result_bytes: u64,
    versions: usize,
    claims: i64,
    left_over: LeftOver,
    quiescence: Duration,
    remarks: Vec<String>,
}

impl Totals {
    /// Adds the result of a schedule.
    pub fn add(&mut self, schedule: &Schedule, played: &Played) {
        self.schedules += 1;
        for job in &played.evidence.jobs {
            *self.states.entry(job.get_str("state").unwrap_or_default().to_owned()).or_default() += 1;
            self.claims += job.get_i64("epoch").unwrap_or_default();
        }
        for kind in &played.faults {
            *self.faults.entry(kind).or_default() += 1;
        }
        for violation in &played.violations {
            *self.consequences.entry(violation.consequence()).or_default() += 1;
        }
        let evidence = &played.evidence;
        let mut accepted: Vec<&str> = evidence.accepted.iter().map(|job| job.job_id.as_str()).collect();
        accepted.sort_unstable();
        accepted.dedup();
        self.accepted += accepted.len();
        self.requests += played.requests;
        self.results += evidence.results.len();
        self.result_bytes += evidence.results.values().map(|result| result.bytes).sum::<u64>();
        self.versions += evidence.history.values().map(Vec::len).sum::<usize>();
        self.left_over.spare_objects += played.left_over.spare_objects;
        self.left_over.uploads += played.left_over.uploads;
        self.left_over.left_uploads += played.left_over.left_uploads;
        self.quiescence = self.quiescence.max(played.quiescence);
        let named = played.remarks.iter().map(|remark| format!("schedule {}: {remark}", schedule.number));
        self.remarks.extend(named);
    }

    /// The number of violations.
    pub fn violations(&self) -> usize {
        self.consequences.values().sum()
    }

    /// The whole report as Markdown.
    pub fn markdown(&self, seed: u64, jobs: usize, took: Duration) -> String {
        let mut text = format!(
            "Seed {seed}, {} schedules of {jobs} clients each, {:.0} s.\n\n| | |\n|---|---|\n",
            self.schedules,
            took.as_secs_f64()
        );
        let mut row = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {name} | {value} |");
        };
        let jobs: usize = self.states.values().sum();
        row("requests that were sent", self.requests.to_string());
        row("jobs accepted (202)", self.accepted.to_string());
        row("jobs stored, those of clients that hung up included", jobs.to_string());
        for (state, count) in &self.states {
            row(&format!("— {state}"), count.to_string());
        }
        row("claims", self.claims.to_string());
        row("versions of job documents checked against the rules", self.versions.to_string());
        row(
            "results read back and compared",
            format!("{} ({} MB)", self.results, self.result_bytes / 1_000_000),
        );
        row("faults", self.faults.values().sum::<usize>().to_string());
        for (kind, count) in &self.faults {
            row(&format!("— {kind}"), count.to_string());
        }
        for name in CONSEQUENCES {
            let count = self.consequences.get(name).copied().unwrap_or_default();
            row(&format!("**{name}**"), format!("**{count}**"));
        }
        row("longest time from the last fault to rest", format!("{:.1} s", self.quiescence.as_secs_f64()));
        row(
            "objects of lost attempts, left to the bucket's lifecycle",
            self.left_over.spare_objects.to_string(),
        );
        row("uploads of several parts", self.left_over.uploads.to_string());
        row("— of lost attempts, left to the bucket's lifecycle", self.left_over.left_uploads.to_string());
        for remark in &self.remarks {
            let _ = write!(text, "\n- {remark}");
        }
        text
    }

    /// One line about a schedule.
    pub fn line(schedule: &Schedule, played: &Played, took: Duration) -> String {
        let count = |state: &str| {
            played
                .evidence
                .jobs
                .iter()
                .filter(|job| job.get_str("state").is_ok_and(|stored| stored == state))
                .count()
        };
        format!(
            "schedule {}: {} jobs ({} finished, {} failed, {} cancelled), {} faults, at rest after {:.1} s, {} violations, {:.1} s",
            schedule.number,
            played.evidence.jobs.len(),
            count("FINISHED"),
            count("FAILED"),
            count("CANCELLED"),
            played.faults.len(),
            played.quiescence.as_secs_f64(),
            played.violations.len(),
            took.as_secs_f64()
        )
    }

    /// The violations of a schedule, and how to reproduce them.
    pub fn complaint(schedule: &Schedule, violations: &[Violation], jobs: usize, kept: &str) -> String {
        let lines: Vec<String> = violations.iter().map(|violation| format!("  {violation}")).collect();
        format!(
            "VIOLATIONS in schedule {} of seed {} (again: --seed {} --first {} --schedules 1 --jobs {jobs}); all is kept in {kept}\n{}",
            schedule.number,
            schedule.seed,
            schedule.seed,
            schedule.number,
            lines.join("\n")
        )
    }
}
