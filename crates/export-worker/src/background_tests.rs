use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A thread that wants a core all the time and gets this share of it, from look to look; the seconds
/// after which its policy changed.
fn changes(shares: &[(u32, f64)]) -> Vec<(u32, Policy)> {
    let begin = Instant::now();
    let mut times = CoreTimes::default();
    let mut thread = Thread::new(begin, times);
    let (mut seconds, mut changes) = (0, Vec::new());
    for (until, share) in shares {
        while seconds < *until {
            seconds += 5;
            times.running += (5 * SECOND).mul_f64(*share);
            times.waiting += (5 * SECOND).mul_f64(1.0 - share);
            let policy = thread.look(begin + seconds * SECOND, times, PATIENCE);
            changes.extend(policy.map(|policy| (seconds, policy)));
        }
    }
    changes
}

#[test]
fn a_thread_that_starves_for_a_minute_gets_a_share_until_cores_are_free() {
    let shares = [(20, 1.0), (200, 0.003), (300, 0.1), (310, 0.9), (400, 0.003)];
    assert_eq!(changes(&shares), [(80, Policy::Normal), (305, Policy::Idle), (370, Policy::Normal)]);
}

#[test]
fn a_thread_that_runs_now_and_then_stays_in_the_background() {
    let mut shares = Vec::new();
    for round in 1..10 {
        shares.extend([(60 * round - 5, 0.003), (60 * round, 0.06)]);
    }
    assert_eq!(changes(&shares), []);
}

#[test]
fn a_thread_without_work_stays_in_the_background() {
    let begin = Instant::now();
    let mut thread = Thread::new(begin, CoreTimes::default());
    for seconds in 1..200 {
        assert_eq!(thread.look(begin + seconds * SECOND, CoreTimes::default(), PATIENCE), None);
    }
}

/// With as many busy normal threads as cores, a thread in the background leaves it and goes on.
#[cfg(target_os = "linux")]
#[test]
fn a_starving_thread_leaves_the_background() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy};

    let is_over = Arc::new(AtomicBool::new(false));
    let cores = thread::available_parallelism().expect("a number of cores").get();
    let busy: Vec<_> = (0..2 * cores)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || while !is_over.load(Ordering::Relaxed) {})
        })
        .collect();
    let background =
        Background { look_interval: SECOND / 10, patience: SECOND, ..Background::new(Niceness::default()) };
    let computing = thread::spawn(move || {
        background.tend_this_thread();
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        assert_eq!(thread_schedule_policy(), Ok(idle));
        let began_at = Instant::now();
        while thread_schedule_policy() == Ok(idle) {
            assert!(began_at.elapsed() < 60 * SECOND, "the thread is still in the background");
            background.tend_this_thread();
        }
        let normal = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
        assert_eq!(thread_schedule_policy(), Ok(normal));
        let niceness = rustix::process::getpriority_process(None).expect("a priority");
        assert!(niceness >= 10, "{niceness}");
        began_at.elapsed()
    });
    let outcome = computing.join();
    is_over.store(true, Ordering::Relaxed);
    for busy in busy {
        busy.join().expect("no panic");
    }
    assert!(outcome.expect("no panic") >= SECOND);
}
