//! Runs one schedule from its first fault to the verdict.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::evidence::Evidence;
use super::gather::LeftOver;
use super::invariants::{Violation, violations};
use super::record::Record;
use super::schedule::Schedule;
use super::servers::Servers;
use super::stage::Stage;

/// A longer time to rest is reported: even two lost leases in a row take less.
const LONG: Duration = Duration::from_secs(20);

/// The result of playing one schedule.
#[derive(Debug)]
pub struct Played {
    /// All evidence about it.
    pub evidence: Evidence,
    /// The violated invariants.
    pub violations: Vec<Violation>,
    /// Remarks: suspicious observations although no invariant is violated.
    pub remarks: Vec<String>,
    /// The kinds of the faults.
    pub faults: Vec<&'static str>,
    /// Requests that clients sent.
    pub requests: usize,
    /// Time from the last fault until every job had ended and every queue was empty.
    pub quiescence: Duration,
    /// Content of the bucket besides results.
    pub left_over: LeftOver,
}

/// Runs a schedule. The records of one with violations or remarks are kept in `folder`. Needs a
/// runtime of several threads, because proxies run beside blocking code.
pub async fn play(servers: &Arc<Servers>, schedule: &Schedule, folder: &Path) -> Played {
    let stage = Arc::new(Stage::set(servers, schedule).await);
    let space = &stage.deployment.space;
    let record = Record::of(space.mongodb.database(&space.jobs_database)).await;
    stage.fill().await;

    // In separate tasks, because most of them block for a while.
    let mut clients = JoinSet::new();
    for (index, job) in schedule.jobs.iter().cloned().enumerate() {
        let (stage, name) = (Arc::clone(&stage), format!("{}-{}-{index}", schedule.seed, schedule.number));
        clients.spawn(async move { stage.serve(&name, &job).await });
    }
    let mut faults = JoinSet::new();
    for planned in schedule.faults.iter().cloned() {
        let stage = Arc::clone(&stage);
        faults.spawn(async move {
            sleep(Duration::from_millis(planned.at_ms)).await;
            stage.strike(planned.fault).await;
        });
    }
    faults.join_all().await;
    stage.lift_all().await;
    stage.fill().await;
    // By now a client that retries is served.
    clients.join_all().await;

    let rest = stage.rest().await;
    let quiescence = rest.took;
    if quiescence > LONG {
        stage.remark(format!("it took {quiescence:.1?} to come to rest"));
    }
    stage.dismiss(|_| true).await;
    let evidence = stage.evidence(record.ended().await, rest).await;
    let violations = violations(&evidence);
    let left_over = stage.left_over(&evidence).await;
    let played = {
        let mut notes = stage.notes();
        Played {
            violations,
            remarks: notes.remarks.iter().map(|(remark, count)| format!("{count} × {remark}")).collect(),
            faults: std::mem::take(&mut notes.faults),
            requests: notes.requests,
            quiescence,
            left_over,
            evidence,
        }
    };
    if !played.violations.is_empty() || !played.remarks.is_empty() {
        keep(&stage, schedule, &played, folder);
    }
    leave(stage).await;
    played
}

/// Stores schedule, histories and logs.
fn keep(stage: &Stage, schedule: &Schedule, played: &Played, folder: &Path) {
    let write = |name: &str, content: String| {
        let path = folder.join(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    };
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    write("schedule.txt", format!("{schedule:#?}\n"));
    let found = played.violations.iter().map(ToString::to_string).chain(played.remarks.iter().cloned());
    write("found.txt", found.collect::<Vec<_>>().join("\n"));
    let histories = played.evidence.history.iter().map(|(id, versions)| {
        let versions: Vec<String> = versions
            .iter()
            .map(|version| version.as_ref().map_or("deleted".to_owned(), |job| format!("{job}")))
            .collect();
        format!("{id}\n{}\n", versions.join("\n"))
    });
    write("histories.txt", histories.collect());
    let writes = played.evidence.writes.iter().map(|write| format!("{write:?}\n"));
    write("writes.txt", writes.collect());
    for (name, output) in &stage.notes().logs {
        write(&format!("{name}.log"), output.clone());
    }
}

async fn leave(stage: Arc<Stage>) {
    let stage = Arc::into_inner(stage).unwrap_or_else(|| panic!("a task still holds the stage"));
    let mut deployment = stage.deployment;
    // The next schedule uses the same vehicles.
    deployment.space.vehicle_prefix = format!("none of {}", deployment.space.id);
    deployment.forget().await;
}
