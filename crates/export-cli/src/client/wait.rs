//! Waits for an export to end.

use std::time::Duration;

use chrono::Utc;
use export_core::JobId;
use export_core::job::JobState;
use indicatif::ProgressBar;

use super::error::ClientError;
use super::job::{Job, JobAnswer};
use super::send::{Call, Client};
use crate::duration::duration;
use crate::print::show_share;
use crate::signals::Signals;
use crate::times::Times;

/// How long the API is asked to wait for the end before it answers, if a bar is shown.
const WITH_BAR: Duration = Duration::from_secs(2);
/// How long it is asked to wait if no bar is shown.
const WITHOUT_BAR: Duration = Duration::from_secs(10);
/// Bounds of the pause between two requests, whatever `Retry-After` says.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Without a bar, a line is printed each time this many more percent are done: ten lines for any
/// export.
const PERCENT_PER_LINE: f64 = 10.0;

/// Waits until the export has ended, with or without a result.
pub(crate) async fn wait(client: &Client, signals: &mut Signals, id: JobId) -> anyhow::Result<JobAnswer> {
    let interrupted = || {
        ClientError::Interrupted(format!(
            "the export continues: `exports get {id} --wait` waits for it again, `exports cancel {id}` cancels it"
        ))
    };
    signals.unless(poll_until_ended(client, id), interrupted).await
}

async fn poll_until_ended(client: &Client, id: JobId) -> Result<JobAnswer, ClientError> {
    let watch = if client.console.has_bars() { WITH_BAR } else { WITHOUT_BAR };
    let text = id.to_string();
    let call = Call {
        headers: vec![("prefer", format!("wait={}", watch.as_secs()))],
        server_waits: watch,
        ..Call::get(&["export", &text])
    };
    let mut display = Display::new(client);
    loop {
        let answer = client.call(&call).await?;
        let found = JobAnswer::of(&answer)?;
        display.show(&found.job);
        if !found.job.state.is_active() {
            return Ok(found);
        }
        tokio::time::sleep(pause(answer.took, watch, answer.retry_after())).await;
    }
}

/// The pause before the next request: the shortest one if the API has waited itself.
fn pause(took: Duration, watch: Duration, retry_after: Option<Duration>) -> Duration {
    if took >= watch / 2 {
        return SHORTEST_PAUSE;
    }
    retry_after.unwrap_or(WITH_BAR).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// Shows the progress of an export: a bar on a terminal, lines elsewhere.
struct Display<'a> {
    client: &'a Client,
    bar: ProgressBar,
    last_line: Option<(JobState, u32, f64, Option<String>)>,
}

impl<'a> Display<'a> {
    fn new(client: &'a Client) -> Self {
        Self { client, bar: client.console.bar(), last_line: None }
    }

    fn show(&mut self, job: &Job) {
        let message = message(job, Times::RelativeTo(Utc::now()));
        // Until a worker has read the list of vehicles, the total is not known.
        let share = (job.progress.vehicles_total > 0).then_some(job.progress.percent / 100.0);
        show_share(&self.bar, share, &message);
        if self.client.console.has_bars() {
            return;
        }
        let now = (job.state, job.attempts, job.progress.percent, job.waiting_for.clone());
        let is_news = self.last_line.as_ref().is_none_or(|last| {
            (last.0, last.1, &last.3) != (now.0, now.1, &now.3) || (now.2 - last.2).abs() >= PERCENT_PER_LINE
        });
        if is_news {
            self.last_line = Some(now);
            self.client.console.note(&message);
        }
    }
}

fn message(job: &Job, times: Times) -> String {
    let progress = &job.progress;
    let state = job.state.as_str();
    match job.state {
        JobState::NotStarted => {
            // An outage uses no attempt.
            let after =
                if job.attempts > 0 { format!(" after attempt {}", job.attempts) } else { String::new() };
            let reason = job.reason().map(|reason| format!("{after}: {reason}"));
            let position = job.queue.as_ref().map(|position| format!(", {}", position.describe()));
            // That a job has its place in the queue is no news.
            let is_usual = matches!(job.waiting_for.as_deref(), Some("turn" | "delivery"));
            let waiting =
                job.waiting(times).filter(|_| !is_usual).map(|waiting| format!(", waiting {waiting}"));
            let [reason, position, waiting] = [reason, position, waiting].map(Option::unwrap_or_default);
            format!("{state}{reason}{position}{waiting}")
        }
        JobState::Started if progress.vehicles_total == 0 => {
            let ending = if job.cancel_requested { "cancelling" } else { "reading the list of vehicles" };
            format!("{state}, {ending}")
        }
        JobState::Started | JobState::Finished => {
            let left = match progress.eta_seconds {
                Some(seconds) if job.state == JobState::Started => format!(", {} left", duration(seconds)),
                _ => String::new(),
            };
            let ending = if job.cancel_requested { ", cancelling" } else { "" };
            format!("{state} {:.1} %{left}, {}{ending}", progress.percent, job.work_done())
        }
        _ => state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let mut json = json!({
            "_id": "01983c5e-7a01-7c3a-9d5e-0123456789ab", "state": "STARTED", "startDate": "2018-11-30", "endDate": "2018-12-01",
            "progress": { "percent": 42.5, "vehiclesDone": 2, "vehiclesTotal": 5, "rows": 1_500_000, "points": 1,
                          "bytes": 3 << 20, "etaSeconds": 90 },
        });
        let line =
            |json: &serde_json::Value| message(&Job::deserialize(json).expect("a job"), Times::Absolute);
        assert_eq!(line(&json), "STARTED 42.5 %, 1 min 30 s left, 2 of 5 vehicles, 1,500,000 rows, 3.00 MiB");
        json["progress"] = json!({ "percent": 0.0, "vehiclesDone": 0, "vehiclesTotal": 0, "rows": 0, "points": 0, "bytes": 0 });
        assert_eq!(line(&json), "STARTED, reading the list of vehicles");
        json["state"] = "NOT_STARTED".into();
        assert_eq!(line(&json), "NOT_STARTED");
        json["queue"] = json!({ "position": 7, "startsInSeconds": null, "etaSeconds": null });
        assert_eq!(line(&json), "NOT_STARTED, position 7 in the queue");
        json["queue"] = json!({ "position": 7, "startsInSeconds": 14, "etaSeconds": 75 });
        assert_eq!(
            line(&json),
            "NOT_STARTED, position 7 in the queue, starts in about 14 s, ends in about 1 min 15 s"
        );
        json["queue"] = json!({ "position": 7, "startsInSeconds": null, "etaSeconds": null, "workersAlive": 0, "workerSeenAt": null });
        json["waitingFor"] = "worker".into();
        let without = "NOT_STARTED, position 7 in the queue, waiting for a worker";
        assert_eq!(line(&json), format!("{without}: none has been seen"));
        json["queue"]["workerSeenAt"] = "2018-11-30T00:00:00Z".into();
        assert_eq!(line(&json), format!("{without}: the last one was seen 2018-11-30T00:00:00Z"));
        json["waitingFor"] = serde_json::Value::Null;
        json["queue"] = serde_json::Value::Null;
        json["attempts"] = 1.into();
        json["error"] = json!({ "code": "source_unavailable", "message": "no MongoDB\u{1b}[2J" });
        assert_eq!(line(&json), "NOT_STARTED after attempt 1: no MongoDB\u{fffd}[2J (source_unavailable)");
    }

    #[test]
    fn an_api_that_waits_is_asked_again_at_once_and_others_after_retry_after() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(2 * second, WITH_BAR, Some(2 * second)), SHORTEST_PAUSE);
        assert_eq!(pause(second / 100, WITH_BAR, Some(3 * second)), 3 * second);
        assert_eq!(pause(second / 100, WITHOUT_BAR, Some(3600 * second)), LONGEST_PAUSE);
        assert_eq!(pause(second / 100, WITHOUT_BAR, Some(Duration::ZERO)), SHORTEST_PAUSE);
    }
}
