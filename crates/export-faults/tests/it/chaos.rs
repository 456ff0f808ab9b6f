//! Random schedules of faults, short and with fixed seeds.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use export_faults::chaos::{Schedule, Servers, Totals, play};
use export_faults::measured;

const SEED: u64 = 4;
const SCHEDULES: u32 = 3;
const JOBS: usize = 40;

#[test]
fn a_seed_reproduces_its_schedule() {
    for number in 0..50 {
        let schedule = Schedule::new(SEED, number, JOBS);
        assert_eq!(schedule, Schedule::new(SEED, number, JOBS));
        assert_ne!(schedule.faults, Schedule::new(SEED, number + 1, JOBS).faults);
        assert_ne!(schedule.faults, Schedule::new(SEED + 1, number, JOBS).faults);
    }
}

/// Threads for the proxies, which run beside blocking code.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_few_schedules_lose_and_double_nothing() {
    let started_at = Instant::now();
    let servers = Arc::new(Servers::start().await);
    let mut totals = Totals::default();
    for number in 0..SCHEDULES {
        let schedule = Schedule::new(SEED, number, JOBS);
        let began_at = Instant::now();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{SEED}-{number}"));
        let played = play(&servers, &schedule, &folder).await;
        measured(&Totals::line(&schedule, &played, began_at.elapsed()));
        let kept = folder.display().to_string();
        assert!(
            played.violations.is_empty(),
            "{}",
            Totals::complaint(&schedule, &played.violations, JOBS, &kept)
        );
        // If no job were served, nothing would be violated.
        let finished = played.evidence.jobs.iter().filter(|job| job.get_str("exportUri").is_ok()).count();
        assert!(finished > JOBS / 4, "{finished} finished: {}", played.remarks.join("\n"));
        totals.add(&schedule, &played);
    }
    measured(&totals.markdown(SEED, JOBS, started_at.elapsed()));
}
