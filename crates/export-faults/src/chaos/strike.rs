//! Applies faults.

use std::time::{Duration, Instant};

use export_testkit::proxy::{Direction, Fault as Wire, Pattern, Proxy, Rule, Watch};
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::fault::{Fault, Network, Process, Service, WORKERS};
use super::stage::{RETRY_REST, Stage};
use crate::broker::wake_up_body;
use crate::patterns::{ack, complete_upload};

/// Longest wait until a restarted broker serves its queues.
const QUEUES: Duration = Duration::from_mins(1);
/// Delay between two checks.
const PAUSE: Duration = Duration::from_millis(100);

/// Every write to the object store is answered with this status.
fn refused_writes(status: u16) -> Rule {
    let code = match status {
        403 => "AccessDenied",
        503 => "SlowDown",
        _ => "InternalError",
    };
    Rule::request(Pattern::starting("PUT /"), Wire::s3_error(status, code))
}

impl Stage {
    /// Applies a fault, and ends it when its time is over.
    pub(super) async fn strike(&self, fault: Fault) {
        self.notes().faults.push(fault.kind());
        match fault {
            Fault::Kill(process, down_ms) => self.replace(process, down_ms, true).await,
            Fault::Stop(worker, down_ms) => self.replace(Process::Worker(worker), down_ms, false).await,
            Fault::Freeze(process, ms) => self.freeze(process, ms).await,
            Fault::Network(process, service, how, ms) => self.disturb(process, service, how, ms).await,
            Fault::LoseConfirms(api, times) => {
                let rule = Rule::answer(ack(), Wire::Reset).times(times);
                self.add(Process::Api(api), Service::Rabbitmq, rule).await;
            }
            Fault::S3Refuses(worker, status, times) => {
                self.add(Process::Worker(worker), Service::S3, refused_writes(status).times(times)).await;
            }
            Fault::StorageOutage(status, ms) => {
                let mut rules = Vec::new();
                for worker in 0..WORKERS {
                    let rule = refused_writes(status);
                    rules.extend(self.add(Process::Worker(worker), Service::S3, rule).await);
                }
                sleep(Duration::from_millis(ms)).await;
                rules.iter().for_each(Watch::lift);
            }
            Fault::LoseReplies(worker, of_complete, times) => {
                let pattern = if of_complete { complete_upload() } else { Pattern::starting("PUT /") };
                let rule = Rule::request(pattern, Wire::LoseReply).times(times);
                self.add(Process::Worker(worker), Service::S3, rule).await;
            }
            Fault::Throttle(worker, kilobytes, ms) => {
                let slow = Wire::Throttle(Direction::Requests, kilobytes * 1_000);
                let rule = self.add(Process::Worker(worker), Service::S3, Rule::always(slow)).await;
                sleep(Duration::from_millis(ms)).await;
                rule.iter().for_each(Watch::lift);
            }
            Fault::RestartBroker(_)
            | Fault::Purge(_)
            | Fault::DeleteQueue(_)
            | Fault::Duplicates(_)
            | Fault::Poison(..) => self.strike_broker(fault).await,
            Fault::StepDown => self.servers.mongod.lock().await.step_down().await,
            Fault::RestartMongod(is_orderly) => {
                let mut mongod = self.servers.mongod.lock().await;
                block_in_place(|| if is_orderly { mongod.stop() } else { mongod.kill() });
                mongod.start_again().await;
            }
            Fault::RestartS3(down_ms) => {
                let mut s3 = self.servers.s3.lock().await;
                block_in_place(|| s3.kill());
                sleep(Duration::from_millis(down_ms)).await;
                block_in_place(|| s3.start_again());
            }
        }
    }

    /// Waits until the queue of a restarted broker takes messages again. RabbitMQ 3.10 breaks all of
    /// its queues if one is deleted before, which tells nothing about the programs.
    async fn until_the_queue_has_a_leader(&self) {
        let Some(job_id) = self.notes().accepted.last().map(|job| job.job_id.clone()) else { return };
        let started_at = Instant::now();
        while !self.deployment.broker.offer(wake_up_body(&job_id).as_bytes()).await {
            assert!(started_at.elapsed() < QUEUES, "the broker refuses messages");
            sleep(PAUSE).await;
        }
    }

    async fn strike_broker(&self, fault: Fault) {
        let broker = &self.deployment.broker;
        match fault {
            Fault::RestartBroker(is_orderly) => {
                let mut rabbitmq = self.servers.rabbitmq.lock().await;
                block_in_place(|| {
                    if is_orderly {
                        rabbitmq.stop();
                    } else {
                        rabbitmq.kill();
                    }
                    rabbitmq.start_again();
                });
                let started_at = Instant::now();
                while !(broker.has(&broker.jobs_queue()).await && broker.has(&broker.retry_queue()).await) {
                    assert!(started_at.elapsed() < QUEUES, "the broker does not know its queues again");
                    sleep(PAUSE).await;
                }
            }
            Fault::Purge(of_retry) => {
                let _rabbitmq = self.servers.rabbitmq.lock().await;
                let queue = if of_retry { broker.retry_queue() } else { broker.jobs_queue() };
                broker.purge(&queue).await;
                self.notes().losses.push(Instant::now());
            }
            Fault::DeleteQueue(ms) => {
                // Provisioning needs all three.
                let _mongod = self.servers.mongod.lock().await;
                let _s3 = self.servers.s3.lock().await;
                let _rabbitmq = self.servers.rabbitmq.lock().await;
                self.until_the_queue_has_a_leader().await;
                broker.delete(&broker.jobs_queue()).await;
                sleep(Duration::from_millis(ms)).await;
                self.deployment.provision(&[RETRY_REST]).await;
                self.notes().losses.push(Instant::now());
            }
            Fault::Duplicates(times) => {
                let _rabbitmq = self.servers.rabbitmq.lock().await;
                let last = self.notes().accepted.last().map(|job| job.job_id.clone());
                if let Some(job_id) = last {
                    // A broker that is still starting may refuse: then there are fewer messages.
                    for _ in 0..times {
                        broker.offer(wake_up_body(&job_id).as_bytes()).await;
                    }
                }
            }
            Fault::Poison(kind, number) => {
                let _rabbitmq = self.servers.rabbitmq.lock().await;
                let body = poison(kind, number).into_bytes();
                let offered_at = Instant::now();
                if broker.offer(&body).await {
                    self.notes().poison.push((body, offered_at));
                }
            }
            _ => {}
        }
    }

    /// Kills or stops a program and starts another in its slot.
    async fn replace(&self, process: Process, down_ms: u64, at_once: bool) {
        let slot = self.slot(process);
        let mut place = slot.lock().await;
        if let Some(member) = place.take() {
            if at_once {
                self.put_away(slot, member);
            } else {
                self.send_home(slot, member).await;
            }
        }
        sleep(Duration::from_millis(down_ms)).await;
        *place = Some(self.start(slot).await);
        slot.announce(place.as_ref());
    }

    async fn freeze(&self, process: Process, ms: u64) {
        let mut place = self.slot(process).lock().await;
        let Some(member) = place.as_mut() else { return };
        let service = member.service();
        if service.exit_status().is_none() {
            block_in_place(|| service.freeze());
            sleep(Duration::from_millis(ms)).await;
            block_in_place(|| service.thaw());
        }
    }

    async fn disturb(&self, process: Process, service: Service, how: Network, ms: u64) {
        let wire = match how {
            Network::Cut => {
                self.with_proxy(process, service, Proxy::cut).await;
                sleep(Duration::from_millis(ms)).await;
                self.with_proxy(process, service, Proxy::restore_connections).await;
                return;
            }
            Network::Drop => {
                self.with_proxy(process, service, Proxy::drop_connections).await;
                return;
            }
            Network::HoldRequests => Wire::Hold(Direction::Requests),
            Network::HoldAnswers => Wire::Hold(Direction::Answers),
            Network::Silence => Wire::Silence,
            Network::Delay(delay_ms) => Wire::Delay(Direction::Answers, Duration::from_millis(delay_ms)),
        };
        let rule = self.add(process, service, Rule::always(wire)).await;
        sleep(Duration::from_millis(ms)).await;
        rule.iter().for_each(Watch::lift);
    }

    async fn add(&self, process: Process, service: Service, rule: Rule) -> Option<Watch> {
        self.with_proxy(process, service, |proxy| proxy.add(rule)).await
    }

    /// Applies a change to a program's connections to a service, if the slot has a program.
    async fn with_proxy<T>(
        &self,
        process: Process,
        service: Service,
        act: impl FnOnce(&Proxy) -> T,
    ) -> Option<T> {
        let mut place = self.slot(process).lock().await;
        let links = &place.as_mut()?.service().links;
        Some(act(match service {
            Service::Mongodb => &links.mongodb,
            Service::Rabbitmq => &links.rabbitmq,
            Service::S3 => &links.s3,
        }))
    }
}

/// A message that names no job, different for each number.
fn poison(kind: u8, number: u64) -> String {
    match kind {
        0 => format!("no JSON, number {number}"),
        1 => format!(r#"{{"v":2,"jobId":"{number}"}}"#),
        2 => format!(r#"{{"v":1,"jobId":"{number}"}}"#),
        // A valid id without a job.
        _ => format!(
            r#"{{"v":1,"jobId":"01983c5e-7a01-7{:03x}-8{:03x}-{:012x}"}}"#,
            number >> 52,
            number >> 40 & 0xfff,
            number & 0xff_ffff_ffff
        ),
    }
}
