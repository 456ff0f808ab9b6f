//! The store changes results as the rules say: random sequences of changes on the stored results of
//! two jobs with one share key, and on records in memory, compared after every step. The model
//! checker works on such records.

use std::time::Duration;

use bson::{Bson, Document, doc};
use export_core::job::{Fence, Job, JobState, NewJob};
use export_core::result::{ResultState, is_void};
use export_core::rules::result::ResultTransition as T;
use export_model::applied::{ApplyToResult, ResultInput, ResultRecord};
use export_store::{Held, NextStep, Writing};
use fastrand::Rng;

use crate::sharing::sharing;
use crate::store::{RETENTION, TestStore, ago, failure, progress, written};

const SEQUENCES: u64 = 25;
const STEPS: usize = 40;
const OWNERS: [&str; 2] = ["worker-a", "worker-b"];
/// In the records, now is 0.
const PASSED: i64 = -1;
const ALMOST_OVER: i64 = 3;
const LEAST_LIFETIME: i64 = 5;
const KEPT: i64 = 10;

#[derive(Clone, Copy, Debug)]
enum Step {
    Claim(usize),
    Begin(usize),
    /// With one of the proofs so far, of a current claim or of an earlier one.
    Finish,
    GiveBack(usize),
    Sweep,
    Expires(usize, i64),
}

fn step(random: &mut Rng) -> Step {
    let job = random.usize(..2);
    match random.u8(..20) {
        0..=4 => Step::Claim(job),
        5..=10 => Step::Begin(job),
        11..=14 => Step::Finish,
        15 | 16 => Step::GiveBack(job),
        17 => Step::Sweep,
        18 => Step::Expires(job, ALMOST_OVER),
        _ => Step::Expires(job, PASSED),
    }
}

/// The state of a worker that has begun a result: the proof, the job, its claim, and the result to
/// be replaced.
#[derive(Clone)]
struct Proof {
    writing: Writing,
    job: usize,
    fence: Fence,
    replaces: Option<(usize, i64)>,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Write,
    Use(usize),
    Wait,
}

type Records = [Option<ResultRecord<String>>; 2];

fn input(epoch: i64, owner: &str, uri: &str) -> ResultInput<String> {
    ResultInput {
        now_ms: 0,
        epoch,
        owner: owner.to_owned(),
        uri: uri.to_owned(),
        retention_ms: KEPT,
        least_lifetime_ms: LEAST_LIFETIME,
        fresh_since_ms: Some(-1),
        created_at_ms: -1,
        looked_at_ms: 0,
        has_share_key: true,
    }
}

/// The order of a claim: own result, current result, begin.
fn begin(
    records: &mut Records,
    job: usize,
    fence: &Fence,
    jobs: [(JobState, i64); 2],
) -> (Outcome, Option<(usize, i64)>) {
    let input = input(fence.epoch, &fence.owner, "");
    let other = 1 - job;
    let is_finished = records[job].as_ref().is_some_and(|own| own.state == ResultState::Finished);
    if is_finished && !T::Expire.rule().apply(&mut records[job], &input) {
        return (Outcome::Use(job), None);
    }
    if T::Share.rule().holds(records[other].as_ref(), &input) {
        return (Outcome::Use(other), None);
    }
    if let Some(found) = records[other].as_ref().filter(|found| found.state == ResultState::Writing) {
        if !is_void(found.epoch, Some(jobs[other])) {
            return (Outcome::Wait, None);
        }
        let seen = ResultInput { epoch: found.epoch, ..input.clone() };
        assert!(T::Remove.rule().apply(&mut records[other], &seen));
    }
    if !T::Begin.rule().apply(&mut records[job], &input) {
        return (Outcome::Wait, None);
    }
    let current = records[other].as_ref().filter(|found| found.is_current);
    (Outcome::Write, current.map(|current| (other, current.epoch)))
}

/// Whether the result is the claim's, finished now or before.
fn finish(records: &mut Records, proof: &Proof, uri: &str) -> bool {
    let input = input(proof.fence.epoch, &proof.fence.owner, uri);
    if T::Finish.rule().holds(records[proof.job].as_ref(), &input)
        && let Some((replaced, epoch)) = proof.replaces
    {
        T::Retire.rule().apply(&mut records[replaced], &ResultInput { epoch, ..input.clone() });
    }
    T::Finish.rule().apply(&mut records[proof.job], &input)
        || records[proof.job].as_ref().is_some_and(|own| own.uri.as_deref() == Some(uri))
}

fn sweep(records: &mut Records, jobs: [(JobState, i64); 2]) {
    for (record, job) in records.iter_mut().zip(jobs) {
        T::Expire.rule().apply(record, &input(0, "", ""));
        let void = record
            .as_ref()
            .filter(|found| found.state == ResultState::Writing && is_void(found.epoch, Some(job)));
        if let Some(epoch) = void.map(|void| void.epoch) {
            T::Remove.rule().apply(record, &input(epoch, "", ""));
        }
    }
}

/// The parts of a result that do not depend on the time.
type Seen = (String, i64, Option<String>, Option<String>, bool, bool);

fn seen(stored: &Document) -> Seen {
    let text = |field: &str| stored.get_str(field).ok().map(str::to_owned);
    let is_set = |field: &str| !matches!(stored.get(field), None | Some(Bson::Null));
    let epoch = stored.get_i64("epoch").expect("an epoch");
    let is_current = stored.get_bool("current").expect("a bool");
    (text("state").expect("a state"), epoch, text("owner"), text("uri"), is_set("expiresAt"), is_current)
}

fn expected(record: &ResultRecord<String>) -> Seen {
    let ResultRecord { state, epoch, owner, uri, expires_at_ms, is_current, .. } = record;
    (state.as_str().to_owned(), *epoch, owner.clone(), uri.clone(), expires_at_ms.is_some(), *is_current)
}

/// Two jobs with the same request, and their known state.
struct Pair {
    store: TestStore,
    new: [NewJob; 2],
    claims: [Option<(Job, Fence)>; 2],
    proofs: Vec<Proof>,
    records: Records,
}

impl Pair {
    async fn jobs(&self) -> [(JobState, i64); 2] {
        let [first, second] = [self.store.get(self.new[0].id).await, self.store.get(self.new[1].id).await];
        [(first.state, first.epoch), (second.state, second.epoch)]
    }

    async fn take(&mut self, step: Step, random: &mut Rng) {
        match step {
            Step::Claim(job) if self.jobs().await[job].0 == JobState::NotStarted => {
                let owner = OWNERS[random.usize(..2)];
                self.claims[job] = Some(self.store.claimed(self.new[job].id, owner).await);
            }
            Step::Begin(job) => self.begin(job).await,
            Step::Finish if !self.proofs.is_empty() => {
                let proof = self.proofs[random.usize(..self.proofs.len())].clone();
                let uri = format!("s3://bucket/{}-{}.zip", proof.job, proof.fence.epoch);
                let jobs = &self.store.jobs;
                let finished =
                    jobs.finish_result(&proof.writing, &written(&uri), &progress(100.0), RETENTION).await;
                let is_own = finished.expect("an answer").is_some();
                assert_eq!(is_own, finish(&mut self.records, &proof, &uri), "{uri}");
            }
            Step::GiveBack(job) => {
                if let Some((_, fence)) = &self.claims[job] {
                    let held = self.store.jobs.hand_over(fence, &failure()).await.expect("an answer");
                    assert!(matches!(held, Held::Done | Held::Lost));
                }
            }
            Step::Sweep => {
                self.store.jobs.sweep_results().await.expect("an answer");
                let jobs = self.jobs().await;
                sweep(&mut self.records, jobs);
            }
            Step::Expires(job, until) => {
                if let Some(record) = self.records[job].as_mut().filter(|found| found.expires_at_ms.is_some())
                {
                    record.expires_at_ms = Some(until);
                    let half = Duration::from_mins(10);
                    let until = if until == PASSED {
                        ago(half)
                    } else {
                        doc! { "$add": ["$$NOW", 600_000] }
                    };
                    let made_at = ago(Duration::from_hours(24));
                    let change = vec![doc! { "$set": { "madeAt": made_at, "expiresAt": until } }];
                    let id = doc! { "_id": self.new[job].id.to_string() };
                    self.store.results.update_one(id, change).await.expect("changed");
                }
            }
            Step::Claim(_) | Step::Finish => {}
        }
    }

    async fn begin(&mut self, job: usize) {
        let Some((claimed, fence)) = self.claims[job].clone() else { return };
        let jobs = self.jobs().await;
        let (outcome, replaces) = begin(&mut self.records, job, &fence, jobs);
        let begun = self.store.jobs.begin_result(&claimed, &fence, None).await.expect("an answer");
        let stored = match begun {
            NextStep::Write(writing) => {
                self.proofs.push(Proof { writing, job, fence, replaces });
                Outcome::Write
            }
            NextStep::Use(result) => Outcome::Use(usize::from(result.id == self.new[1].id)),
            NextStep::Wait => Outcome::Wait,
            NextStep::Compare(comparison) => panic!("both jobs are older than all results: {comparison:?}"),
        };
        assert_eq!(stored, outcome);
    }

    async fn assert_same(&self, what: &str) {
        for (new, record) in self.new.iter().zip(&self.records) {
            let id = doc! { "_id": new.id.to_string() };
            let stored = self.store.results.find_one(id).await.expect("an answer");
            assert_eq!(stored.as_ref().map(seen), record.as_ref().map(expected), "{what}");
        }
    }
}

#[tokio::test]
async fn the_store_follows_the_rules_of_results() {
    let mut store = TestStore::create().await;
    let (mut writes, mut shares, mut waits, mut expired) = (0, 0, 0, 0);
    for seed in 0..SEQUENCES {
        store.stored.delete_many(doc! {}).await.expect("an empty collection");
        store.results.delete_many(doc! {}).await.expect("an empty collection");
        let mut random = Rng::with_seed(seed);
        let new = [sharing(), sharing()];
        for new in &new {
            store.created(new).await;
        }
        let mut pair = Pair { store, new, claims: [None, None], proofs: Vec::new(), records: [None, None] };
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            let step = step(&mut random);
            steps.push(step);
            pair.take(step, &mut random).await;
            pair.assert_same(&format!("seed {seed}: {steps:?}")).await;
            let states = pair.records.iter().flatten().map(|record| record.state);
            expired += states.filter(|state| *state == ResultState::Expired).count();
        }
        writes += pair.proofs.len();
        shares += pair.records.iter().flatten().filter(|record| record.is_current).count();
        waits += steps.iter().filter(|step| matches!(step, Step::Begin(_))).count() - pair.proofs.len();
        store = pair.store;
    }
    // The sequences must reach every case, or they would prove little.
    assert!(writes > 20 && shares > 5 && waits > 20 && expired > 5, "{writes} {shares} {waits} {expired}");
    store.space.cleanup().await;
}
