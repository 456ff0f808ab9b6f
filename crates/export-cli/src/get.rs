//! `exports get`: shows an export.

use export_core::JobId;
use export_settings::print::Output;
use indicatif::HumanCount;

use crate::client::{ApiArgs, Call, EXIT_CODES, Job, JobAnswer, Patience, wait};
use crate::coverage::{self, CoverageArgs};
use crate::print::sanitized;
use crate::signals::Signals;

/// Flags of `exports get`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Get {
    /// The export's id
    id: JobId,
    /// First wait until the export has ended; exit with 3 if it ended without a result
    #[arg(long)]
    wait: bool,
    /// Print the job as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    coverage: CoverageArgs,
    #[command(flatten)]
    api: ApiArgs,
}

impl Get {
    pub(crate) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let client = self.api.client(if self.wait { Patience::Long } else { Patience::Short })?;
        let found = if self.wait {
            let mut signals = Signals::catch()?;
            wait(&client, &mut signals, self.id).await?
        } else {
            JobAnswer::of(&client.call(&Call::get(&["export", &self.id.to_string()])).await?)?
        };
        output.line(&if self.json { found.json.to_string() } else { describe(&found.job) });
        found.job.warning_lines().iter().for_each(|warning| client.console.note(warning));
        if self.wait {
            found.job.require_no_bad_end()?;
        }
        if !self.json {
            client.console.note_if(found.job.coverage().map(coverage::line));
        }
        Ok(self.coverage.check(found.job.coverage())?)
    }
}

/// A job as lines of a name and a value.
fn describe(job: &Job) -> String {
    let mut lines = vec![
        ("export", job.id.to_string()),
        ("state", job.state.as_str().to_owned()),
        ("range", job.range()),
        (
            "vehicles",
            if job.vehicles.is_empty() { "all".to_owned() } else { sanitized(&job.vehicles.join(", ")) },
        ),
        ("progress", format!("{:.1} %, {}", job.progress.percent, job.work_done())),
        ("attempts", job.attempts.to_string()),
    ];
    if let Some(range) = job.resolved_range() {
        lines.insert(3, ("resolved", range));
    }
    if let Some(position) = &job.queue {
        lines.insert(2, ("queue", position.describe()));
    }
    if let Some(priority) = job.priority {
        lines.insert(2, ("priority", priority.as_str().to_owned()));
    }
    if job.cancel_requested && job.state.is_active() {
        lines.push(("cancelling", "yes".to_owned()));
    }
    if job.is_shared() {
        lines.push(("shared", "yes, the result of an earlier export of the same request".to_owned()));
    }
    if let Some(reason) = job.reason() {
        lines.push(("error", reason));
    }
    if let Some(stats) = &job.stats {
        lines.push((
            "points",
            format!("{}, {} rejected", HumanCount(stats.points), HumanCount(stats.rejected)),
        ));
        lines.push(("size", format!("{} bytes", HumanCount(stats.bytes))));
        lines.push(("sha256", sanitized(&stats.sha256)));
    }
    lines.push(("created", sanitized(&job.created_at)));
    let ends = [("finished", &job.finished_at), ("expires", &job.expires_at)];
    lines.extend(ends.into_iter().filter_map(|(name, time)| Some((name, sanitized(time.as_ref()?)))));
    let lines: Vec<String> = lines.iter().map(|(name, value)| format!("{name:<10} {value}")).collect();
    lines.join("\n")
}
