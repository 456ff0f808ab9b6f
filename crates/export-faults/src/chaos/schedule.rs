//! The requests and faults of a schedule. Made from a seed alone: the same seed gives the same
//! schedule.

use fastrand::Rng;

use super::fault::{APIS, Fault};
use super::shape::Shape;

/// Jobs are posted and faults begin within this time, in milliseconds.
const STREAM_MS: u64 = 6_000;
/// No fault happens before this time, because there is no job yet.
const FIRST_FAULT_MS: u64 = 300;
/// Minimum and maximum number of faults of a program, a connection or a message.
const SMALL_FAULTS: (usize, usize) = (8, 13);
/// In one of this many schedules, faults alone may use up a job's attempts.
const FEW_ATTEMPTS: (u32, u32) = (1, 4);
/// Maximum attempts of jobs in such schedules, and in all others.
const ATTEMPTS: (u32, u32) = (3, 60);
/// From the fastest to the slowest services.
const MONGODB_DELAY_MS: (u64, u64) = (0, 40);
const S3_DELAY_MS: (u64, u64) = (5, 30);
/// Distributes seeds and numbers over all states of the generator.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// One schedule of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Seed of the run.
    pub seed: u64,
    /// Number within the run, from 0.
    pub number: u32,
    /// Maximum attempts of a job.
    pub max_attempts: u32,
    /// The grace period of a worker that is asked to stop.
    pub grace_seconds: u32,
    /// Additional delay of every answer of MongoDB to a worker, in milliseconds.
    pub mongodb_delay_ms: u64,
    /// Additional delay of each 64 KiB from a worker to S3, in milliseconds. Slow services make
    /// exports last longer, so that faults hit running exports.
    pub s3_delay_ms: u64,
    /// The clients' requests.
    pub jobs: Vec<PlannedJob>,
    /// The faults.
    pub faults: Vec<PlannedFault>,
}

/// A client with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedJob {
    /// Time in milliseconds from the beginning.
    pub at_ms: u64,
    /// The API of the first request.
    pub api: usize,
    /// The requested export.
    pub shape: Shape,
    /// The client's manner of sending it.
    pub manner: Manner,
    /// Time of the cancellation, in milliseconds after the 202.
    pub cancel_after_ms: Option<u64>,
}

/// How a client sends its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Once, without a retry.
    Once,
    /// With a key, retried at different APIs until it is accepted.
    UntilAccepted,
    /// With an `Idempotency-Key`, this many concurrent requests.
    AtOnce(usize),
    /// Closes the connection before the last bytes, as many as the first field, and retries with
    /// the same key if the second field is true.
    HangUp(usize, bool),
}

/// A fault at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFault {
    /// Time in milliseconds from the beginning.
    pub at_ms: u64,
    /// The fault.
    pub fault: Fault,
}

impl Schedule {
    /// The schedule of this seed and number, with this many jobs.
    pub fn new(seed: u64, number: u32, job_count: usize) -> Self {
        let mut random = Rng::with_seed(seed.wrapping_mul(SPREAD) ^ u64::from(number).wrapping_mul(!SPREAD));
        let has_few_attempts = random.u32(0..FEW_ATTEMPTS.1) < FEW_ATTEMPTS.0;
        let max_attempts = if has_few_attempts { ATTEMPTS.0 } else { ATTEMPTS.1 };
        let grace_seconds = random.u32(0..2);
        let mongodb_delay_ms = random.u64(MONGODB_DELAY_MS.0..MONGODB_DELAY_MS.1);
        let s3_delay_ms = random.u64(S3_DELAY_MS.0..S3_DELAY_MS.1);
        let mut jobs: Vec<PlannedJob> = (0..job_count).map(|_| PlannedJob::by_chance(&mut random)).collect();
        jobs.sort_by_key(|job| job.at_ms);
        let mut faults: Vec<Fault> =
            (0..random.usize(SMALL_FAULTS.0..SMALL_FAULTS.1)).map(|_| Fault::small(&mut random)).collect();
        for _ in 0..random.u32(0..3) {
            let big = Fault::big(&mut random);
            // Once is enough: a server takes seconds to start.
            if faults.iter().all(|fault| fault.kind() != big.kind()) {
                faults.push(big);
            }
        }
        let mut faults: Vec<PlannedFault> = faults
            .into_iter()
            .map(|fault| PlannedFault { at_ms: random.u64(FIRST_FAULT_MS..STREAM_MS), fault })
            .collect();
        faults.sort_by_key(|fault| fault.at_ms);
        Self { seed, number, max_attempts, grace_seconds, mongodb_delay_ms, s3_delay_ms, jobs, faults }
    }
}

impl PlannedJob {
    fn by_chance(random: &mut Rng) -> Self {
        let manner = match random.u32(0..10) {
            0..4 => Manner::Once,
            4..7 => Manner::UntilAccepted,
            7 => Manner::AtOnce(random.usize(2..5)),
            _ => {
                let unsent = if random.bool() { 0 } else { random.usize(1..40) };
                Manner::HangUp(unsent, random.bool())
            }
        };
        Self {
            at_ms: random.u64(0..STREAM_MS),
            api: random.usize(0..APIS),
            shape: Shape::by_chance(random),
            manner,
            cancel_after_ms: (random.u32(0..7) == 0).then(|| random.u64(0..1_500)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_gives_one_schedule_and_another_seed_another() {
        for number in 0..20 {
            assert_eq!(Schedule::new(7, number, 40), Schedule::new(7, number, 40));
            assert_ne!(Schedule::new(7, number, 40).faults, Schedule::new(8, number, 40).faults);
            assert_ne!(Schedule::new(7, number, 40).jobs, Schedule::new(7, number + 1, 40).jobs);
        }
    }

    /// A seed in an old log must give the same schedule today: the hash changes only with the
    /// generator.
    #[test]
    fn a_schedule_as_it_was_when_this_was_written() {
        let schedule = Schedule::new(1, 0, 3);
        let faults: Vec<String> =
            schedule.faults.iter().map(|fault| format!("{} {:?}", fault.at_ms, fault.fault)).collect();
        assert_eq!(faults, KNOWN_FAULTS, "{faults:#?}");
    }

    const KNOWN_FAULTS: [&str; 13] = [
        "381 Duplicates(3)",
        "1981 Kill(Worker(0), 1252)",
        "1994 Throttle(0, 111, 533)",
        "2180 Freeze(Api(1), 1511)",
        "2198 Throttle(2, 869, 504)",
        "2287 Freeze(Api(1), 1868)",
        "2939 LoseConfirms(0, 1)",
        "3493 Duplicates(6)",
        "3611 Network(Worker(2), Rabbitmq, HoldAnswers, 738)",
        "3771 Purge(true)",
        "3838 RestartBroker(false)",
        "3933 LoseReplies(1, true, 3)",
        "5019 Kill(Worker(1), 613)",
    ];

    #[test]
    fn everything_breaks_sooner_or_later() {
        let schedules: Vec<Schedule> = (0..100).map(|number| Schedule::new(1, number, 40)).collect();
        let kinds: BTreeSet<&str> =
            schedules.iter().flat_map(|schedule| &schedule.faults).map(|fault| fault.fault.kind()).collect();
        assert_eq!(kinds.len(), 21, "{kinds:#?}");
        let shapes: BTreeSet<String> = schedules
            .iter()
            .flat_map(|schedule| &schedule.jobs)
            .map(|job| format!("{:?}", job.shape))
            .collect();
        assert_eq!(shapes.len(), Shape::ALL.len());
        for schedule in &schedules {
            assert_eq!(schedule.jobs.len(), 40);
            assert!(schedule.jobs.is_sorted_by_key(|job| job.at_ms));
            assert!(schedule.faults.len() >= SMALL_FAULTS.0);
            assert!(schedule.faults.iter().all(|fault| fault.at_ms < STREAM_MS));
        }
    }
}
