//! The programs of one schedule, and the notes while they run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use export_testkit::proxy::{Direction, Fault as Wire, Rule};
use tokio::task::block_in_place;

use super::evidence::AcceptedJob;
use super::fault::{APIS, LEASE_SECONDS, Process, WORKERS};
use super::schedule::Schedule;
use super::servers::Servers;
use super::slot::{Member, Slot};
use crate::Deployment;

/// Delay of a nacked message in milliseconds.
pub(super) const RETRY_REST: (&str, &str) = ("RETRY_REST_MS", "200");
/// Longest time from SIGTERM to the exit of a program; the worker's own limits are shorter.
const ENDING: Duration = Duration::from_secs(12);
/// Delay between two checks.
const PAUSE: Duration = Duration::from_millis(20);

/// All parts of a running schedule.
pub(super) struct Stage {
    pub(super) servers: Arc<Servers>,
    pub(super) deployment: Deployment,
    pub(super) slots: Vec<Slot>,
    max_attempts: String,
    grace_seconds: String,
    /// The rules that make services slow for every worker.
    pace: [Wire; 2],
    notes: Mutex<Notes>,
}

/// The notes while it runs.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) accepted: Vec<AcceptedJob>,
    pub(super) cancelled: BTreeSet<String>,
    pub(super) unknown: BTreeSet<String>,
    pub(super) requests: usize,
    /// Messages that named no job, with the time they were sent.
    pub(super) poison: Vec<(Vec<u8>, Instant)>,
    /// When queues were purged or deleted.
    pub(super) losses: Vec<Instant>,
    /// Kinds of the faults so far.
    pub(super) faults: Vec<&'static str>,
    /// Remarks: suspicious observations although no invariant is violated, and their numbers.
    pub(super) remarks: BTreeMap<String, usize>,
    /// The output of ended programs.
    pub(super) logs: Vec<(String, String)>,
}

impl Stage {
    /// Provisions a deployment; starts no program.
    pub(super) async fn set(servers: &Arc<Servers>, schedule: &Schedule) -> Self {
        let mut deployment = Deployment::on(servers.services.clone()).await;
        deployment.space.vehicle_prefix.clone_from(&servers.vehicle_prefix);
        let apis = (0..APIS).map(Process::Api);
        let slots = apis.chain((0..WORKERS).map(Process::Worker)).map(Slot::new).collect();
        Self {
            servers: Arc::clone(servers),
            deployment,
            slots,
            max_attempts: schedule.max_attempts.to_string(),
            grace_seconds: schedule.grace_seconds.to_string(),
            pace: [
                Wire::Delay(Direction::Answers, Duration::from_millis(schedule.mongodb_delay_ms)),
                Wire::Delay(Direction::Requests, Duration::from_millis(schedule.s3_delay_ms)),
            ],
            notes: Mutex::default(),
        }
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remark(&self, remark: String) {
        *self.notes().remarks.entry(remark).or_default() += 1;
    }

    pub(super) fn slot(&self, process: Process) -> &Slot {
        let index = match process {
            Process::Api(number) => number,
            Process::Worker(number) => APIS + number,
        };
        &self.slots[index]
    }

    /// Starts a program in every slot that has none, or whose program has exited unexpectedly.
    pub(super) async fn fill(&self) {
        for slot in &self.slots {
            let mut member = slot.lock().await;
            if let Some(ended) = member.take_if(|member| member.service().exit_status().is_some()) {
                self.remark(format!("{} ended by itself", slot.name()));
                self.put_away(slot, ended);
            }
            if member.is_none() {
                *member = Some(self.start(slot).await);
                slot.announce(member.as_ref());
            }
        }
    }

    pub(super) async fn start(&self, slot: &Slot) -> Member {
        let lease_seconds = LEASE_SECONDS.to_string();
        let start = self
            .deployment
            .with("RETRY_FIRST_WAIT_MS", "100")
            .with("RETRY_LONGEST_WAIT_MS", "1500")
            .with("LOG_LEVEL", "info");
        match slot.process {
            Process::Api(_) => {
                let start =
                    start.with("MAX_ATTEMPTS", &self.max_attempts).with("REPUBLISH_AFTER_SECONDS", "2");
                Member::Api(start.api().await)
            }
            Process::Worker(_) => {
                let links = self.deployment.links().await;
                let [mongodb, s3] = self.pace.clone();
                links.mongodb.add(Rule::always(mongodb));
                links.s3.add(Rule::always(s3));
                let start = start
                    .over(links)
                    .with("LEASE_SECONDS", &lease_seconds)
                    .with("WORKER_CONCURRENCY", "2")
                    .with("SHUTDOWN_GRACE_SECONDS", &self.grace_seconds);
                Member::Worker(start.worker().await)
            }
        }
    }

    /// Kills a program that still runs, and keeps its output.
    pub(super) fn put_away(&self, slot: &Slot, mut member: Member) {
        slot.announce(None);
        let service = member.service();
        let name = format!("{}-{}", slot.name(), service.id());
        let output = block_in_place(|| service.kill().output);
        self.keep_log(name, output);
    }

    /// Asks a program to exit, and kills it when it does not.
    pub(super) async fn send_home(&self, slot: &Slot, mut member: Member) {
        slot.announce(None);
        let service = member.service();
        if service.exit_status().is_none() {
            let asked_at = block_in_place(|| service.ask_to_end());
            while service.exit_status().is_none() {
                if asked_at.elapsed() > ENDING {
                    self.remark(format!("{} did not end within {ENDING:?} of SIGTERM", slot.name()));
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.put_away(slot, member);
    }

    fn keep_log(&self, name: String, output: String) {
        if let Some(line) = output.lines().find(|line| line.contains("panicked at")) {
            self.remark(format!("{name} panicked: {line}"));
        }
        self.notes().logs.push((name, output));
    }

    /// Shuts all programs of a kind down normally.
    pub(super) async fn dismiss(&self, is_wanted: impl Fn(Process) -> bool) {
        let leaving = self.slots.iter().filter(|slot| is_wanted(slot.process)).map(|slot| async move {
            if let Some(member) = slot.lock().await.take() {
                self.send_home(slot, member).await;
            }
        });
        futures_util::future::join_all(leaving).await;
    }

    /// Removes all faults from all connections.
    pub(super) async fn lift_all(&self) {
        for slot in &self.slots {
            if let Some(member) = slot.lock().await.as_mut() {
                let links = &member.service().links;
                for proxy in [&links.mongodb, &links.rabbitmq, &links.s3] {
                    proxy.restore();
                }
            }
        }
    }
}
