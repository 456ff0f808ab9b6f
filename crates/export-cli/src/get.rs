//! `exports get`: shows an export.

use chrono::Utc;
use export_core::job::JobState;
use export_settings::print::Output;
use indicatif::HumanCount;

use crate::client::{ApiArgs, EXIT_CODES, Job, Patience, QueuePosition, wait};
use crate::coverage::{self, CoverageArgs};
use crate::job_ref::{JobRef, job_of, resolve};
use crate::print::sanitized;
use crate::signals::Signals;
use crate::times::Times;

/// Flags of `exports get`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Get {
    /// The export: its id, a part of it as `exports list` prints it, or @last for your newest one
    #[arg(value_name = "ID")]
    job: JobRef,
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
        let id = resolve(&client, &self.job).await?;
        let found = if self.wait {
            let mut signals = Signals::catch()?;
            wait(&client, &mut signals, id).await?
        } else {
            job_of(&client, id).await?
        };
        let times = Times::on_stdout(Utc::now());
        output.line(&if self.json { found.json.to_string() } else { describe(&found.job, times) });
        client.console.warnings(&found.job.warning_lines());
        if self.wait {
            found.job.require_no_bad_end()?;
        }
        if !self.json {
            client.console.note_if(found.job.coverage().map(coverage::line));
        }
        Ok(self.coverage.check(found.job.coverage())?)
    }
}

/// A job as lines of a name and a value: what it is, the request, its state, its result, its times.
fn describe(job: &Job, times: Times) -> String {
    let text = |text: &Option<String>| text.as_deref().map(sanitized);
    let time = |time: &Option<String>| time.as_deref().map(|time| times.show(time));
    let stats = job.stats.as_ref();
    // Of a job that waits for its next try it would be that of the last one.
    let progress = job.state != JobState::NotStarted;
    let error = if job.state.is_active() { "last error" } else { "error" };
    let is_ending = job.cancel_requested && job.state.is_active();
    let of_most = job.attempts_max.map(|most| format!(" of {most}")).unwrap_or_default();
    let attempts = format!("{}{of_most}", job.attempts);
    let lines = [
        ("export", Some(job.id.to_string())),
        ("label", text(&job.label)),
        ("retry of", job.retry_of.map(|id| id.to_string())),
        ("state", Some(job.state.as_str().to_owned())),
        ("priority", job.priority.map(|priority| priority.as_str().to_owned())),
        ("waiting", job.waiting(times)),
        ("queue", job.queue.as_ref().map(QueuePosition::describe)),
        ("range", Some(job.range())),
        ("resolved", job.resolved_range()),
        ("vehicles", Some(job.vehicle_names())),
        ("parameters", Some(job.parameter_names())),
        ("files", Some(job.options()).filter(|options| !options.is_empty())),
        ("webhook", text(&job.webhook_url)),
        ("progress", progress.then(|| format!("{:.1} %, {}", job.progress.percent, job.work_done()))),
        ("attempts", Some(attempts)),
        ("worker", text(&job.worker)),
        ("last sign", time(&job.last_sign_at)),
        ("outage", time(&job.outage_since).map(|time| format!("since {time}"))),
        ("cancelling", is_ending.then(|| "yes".to_owned())),
        (error, job.reason()),
        ("shared", job.shared_result(times)),
        ("data as of", time(&job.made_at).filter(|_| !job.is_shared())),
        (
            "points",
            stats.map(|stats| {
                format!("{}, {} rejected", HumanCount(stats.points), HumanCount(stats.rejected))
            }),
        ),
        ("size", stats.map(|stats| format!("{} bytes", HumanCount(stats.bytes)))),
        ("sha256", stats.map(|stats| sanitized(&stats.sha256))),
        ("created by", text(&job.created_by)),
        ("created", Some(times.show(&job.created_at))),
        ("started", time(&job.started_at)),
        ("finished", time(&job.finished_at)),
        ("expires", time(&job.expires_at)),
    ];
    let lines = lines.into_iter().filter_map(|(name, value)| Some(format!("{name:<10} {}", value?)));
    lines.collect::<Vec<_>>().join("\n")
}
