//! The controller against simulated sources, with simulated time and seeded randomness.

use super::*;

const IDLE: Duration = Duration::from_millis(10);
const BYTES: usize = 1 << 20;

/// A source that answers in the idle time up to its capacity, and proportionally slower beyond it.
struct Source {
    capacity: f64,
    /// Reads of other clients that always run.
    others: f64,
    idle: Duration,
    random: fastrand::Rng,
}

/// The controller, a reader that uses every permit, and a source.
struct Simulation {
    controller: Controller,
    source: Source,
    now: Instant,
    /// Running reads: start, end, and whether the read was alone so far.
    running: Vec<(Instant, Instant, bool)>,
    /// Maximum number of concurrent reads that the reader wants.
    wanted: usize,
}

impl Simulation {
    fn new(capacity: f64, max: usize) -> Self {
        let now = Instant::now();
        let random = fastrand::Rng::with_seed(6);
        let source = Source { capacity, others: 0.0, idle: IDLE, random };
        Self { controller: Controller::new(max), source, now, running: Vec::new(), wanted: 1_000 }
    }

    /// Reads for this time; returns the mean limit of the second half.
    fn run(&mut self, time: Duration) -> f64 {
        let (from, until) = (self.now + time / 2, self.now + time);
        let (mut weighed, mut weight) = (0.0, 0.0);
        while self.now < until {
            self.begin_reads();
            let (next, _) = self.running.iter().enumerate().min_by_key(|(_, read)| read.1).expect("a read");
            let (began_at, ended_at, was_alone) = self.running[next];
            if ended_at > from {
                let passed = ended_at.duration_since(self.now.max(from)).as_secs_f64();
                weighed += passed * float(self.controller.limit);
                weight += passed;
            }
            self.now = ended_at;
            let concurrency =
                Concurrency { was_alone, is_full: self.running.len() >= self.controller.limit() };
            self.running.remove(next);
            self.controller.read_ended(EndedRead { began_at, ended_at, bytes: BYTES, concurrency });
            assert!((1..=self.controller.max).contains(&self.controller.limit()));
        }
        weighed / weight
    }

    fn begin_reads(&mut self) {
        while self.running.len() < self.controller.limit().min(self.wanted) {
            let source = &mut self.source;
            let load = (float(self.running.len() + 1) + source.others) / source.capacity;
            // Random: up to a third more, and sometimes a multiple.
            let noise =
                1.0 + source.random.f64() / 3.0 + if source.random.u32(..40) == 0 { 5.0 } else { 0.0 };
            let took = source.idle.mul_f64(load.max(1.0) * noise);
            for (_, _, was_alone) in &mut self.running {
                *was_alone = false;
            }
            self.running.push((self.now, self.now + took, self.running.is_empty()));
        }
    }

    fn seconds(&mut self, seconds: u64) -> f64 {
        self.run(Duration::from_secs(seconds))
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn float(number: usize) -> f64 {
    number as f64
}

#[test]
fn the_limit_converges_to_the_capacity() {
    for capacity in [3.0, 6.0, 12.0] {
        let mut simulation = Simulation::new(capacity, 100);
        let limit = simulation.seconds(60);
        assert!((capacity..=capacity * 2.2).contains(&limit), "{limit} for a capacity of {capacity}");
    }
    // In the long run, too: the own load does not become the baseline.
    let mut simulation = Simulation::new(3.0, 100);
    let limit = simulation.seconds(1_200);
    assert!((3.0..=6.6).contains(&limit), "{limit} after twenty minutes");
}

#[test]
fn a_healthy_source_soon_gets_the_full_limit() {
    let mut simulation = Simulation::new(50.0, 8);
    simulation.run(IDLE * 30);
    assert_eq!(simulation.controller.limit(), 8);
    assert!(simulation.seconds(30) > 7.9);
}

#[test]
fn the_limit_falls_under_load_of_other_clients_and_recovers() {
    let mut simulation = Simulation::new(12.0, 32);
    let alone = simulation.seconds(30);
    simulation.source.others = 30.0;
    simulation.seconds(3);
    let beside = simulation.controller.limit;
    assert!(beside <= 2, "{beside} three seconds after the load began, {alone} before");
    simulation.source.others = 0.0;
    simulation.seconds(10);
    let again = float(simulation.controller.limit);
    assert!(again > alone * 0.6, "{again} ten seconds after the load ended, {alone} before it");
}

#[test]
fn the_limit_is_at_least_one() {
    let mut simulation = Simulation::new(0.1, 8);
    assert!(simulation.seconds(60) < 2.0);
    let mut controller = Controller::new(1);
    for _ in 0..100 {
        assert_eq!(controller.read_timed_out(simulation.now), None);
    }
    assert_eq!(controller.limit(), 1);
    assert_eq!(Controller::new(0).limit(), 1);
}

#[test]
fn an_unused_limit_is_not_raised() {
    let mut simulation = Simulation::new(100.0, 64);
    simulation.wanted = 3;
    simulation.seconds(60);
    assert!(simulation.controller.limit <= 4, "{}", simulation.controller.limit);
}

#[test]
fn a_source_that_stays_slower_becomes_the_baseline_after_minutes() {
    let mut simulation = Simulation::new(12.0, 12);
    simulation.seconds(60);
    simulation.source.idle = IDLE * 3;
    assert!(simulation.seconds(30) < 3.0, "three times as slow lowers the limit at first");
    simulation.seconds(900);
    assert!(simulation.seconds(60) > 9.0, "and is the baseline in the end");
}

#[test]
fn a_decrease_is_measured_before_the_next() {
    let (mut controller, now) = (Controller::new(64), Instant::now());
    controller.limit = 64;
    assert_eq!(controller.read_timed_out(now), Some(Change::Lowered("a read timed out")));
    assert_eq!(controller.limit(), 44);
    assert_eq!(controller.read_timed_out(now + BETWEEN_DECREASES / 2), None);
    assert_eq!(controller.limit(), 44);
    controller.read_timed_out(now + BETWEEN_DECREASES);
    assert_eq!(controller.limit(), 30);
}

#[test]
fn reports_of_the_server_lower_the_limit() {
    let (mut controller, now) = (Controller::new(8), Instant::now());
    controller.limit = 8;
    assert_eq!(controller.server_reported(now, Pressure::Waiting("queue")), Some(Change::Lowered("queue")));
    assert_eq!(controller.server_reported(now, Pressure::None), None);

    // Slower reads of other clients lower nothing by themselves, but make the controller more
    // sensitive to own reads.
    let decided = |pressure: Pressure, times: f64| {
        let mut controller = Controller::new(16);
        let mut read = |at: Duration, took: Duration, was_alone| {
            let concurrency = Concurrency { was_alone, is_full: false };
            let began_at = now + at;
            controller.read_ended(EndedRead {
                began_at,
                ended_at: began_at + took,
                bytes: BYTES,
                concurrency,
            })
        };
        for second in 0..4 {
            read(Duration::from_secs(second), IDLE, true);
        }
        controller.limit = 8;
        let at = Duration::from_secs(5);
        controller.server_reported(now + at, pressure);
        (0..8)
            .filter_map(|_| {
                let concurrency = Concurrency { was_alone: false, is_full: true };
                let began_at = now + at;
                let ended_at = began_at + IDLE.mul_f64(times);
                controller.read_ended(EndedRead { began_at, ended_at, bytes: BYTES, concurrency })
            })
            .last()
    };
    assert_eq!(decided(Pressure::None, 1.9), None);
    assert_eq!(decided(Pressure::Slower, 1.5), Some(Change::Raised));
    assert!(matches!(decided(Pressure::Slower, 1.9), Some(Change::Lowered(_))));
}

#[test]
fn clocks_that_stand_still_or_jump_are_harmless() {
    let earliest = Instant::now();
    let concurrency = Concurrency { was_alone: true, is_full: true };
    let times = [0_i64, 0, 0, -3_000, 3_000, 0, 86_400_000, 0, -60_000];
    let at = |ms: i64| earliest + Duration::from_millis(u64::try_from(3_600_000 + ms).expect("not before"));
    let mut controller = Controller::new(8);
    for round in 0..500 {
        let (began_at, ended_at) = (at(times[round % 9]), at(times[round * 7 % 9]));
        controller.read_ended(EndedRead { began_at, ended_at, bytes: round * 1_000, concurrency });
        controller.server_reported(ended_at, Pressure::Slower);
        if round % 50 == 0 {
            controller.read_timed_out(began_at);
        }
        assert!((1..=8).contains(&controller.limit()));
    }
}
