//! The judge of chaos: it accepts correct evidence, and names the violated invariant of incorrect
//! evidence.

use bson::{Bson, Document, doc};
use export_faults::chaos::{AcceptedJob, Evidence, FoundResult, Poison, Write, violations};

const JOB: &str = "01983c5e-7a01-7c3a-9d5e-0123456789ab";
const OTHER: &str = "01983c5e-7a01-7c3a-9d5e-0123456789ac";
const KEY: &str = "exports/default/01983c5e-7a01-7c3a-9d5e-0123456789ab/1-7.zip";
const POISON: &[u8] = b"no JSON";

fn waiting() -> Document {
    doc! {
        "_id": JOB, "tenant": "default", "idempotencyKey": "a", "state": "NOT_STARTED", "epoch": 0_i64, "attempts": 0_i64,
        "maxAttempts": 3_i64, "owner": null, "leaseUntil": null, "publishedAt": null, "cancelRequested": false,
        "exportUri": null, "stats": null, "error": null, "format": "csv", "archive": "zip",
        "vehicles": ["v_aligned", "v_rejected", "v_shuffled", "v_texts"],
    }
}

fn with(job: &Document, changes: Document) -> Document {
    let mut job = job.clone();
    job.extend(changes);
    job
}

fn claimed(job: &Document) -> Document {
    let next = |field: &str| job.get_i64(field).expect("a count") + 1;
    let (epoch, attempts) = (next("epoch"), next("attempts"));
    let claim =
        doc! { "state": "STARTED", "epoch": epoch, "attempts": attempts, "owner": "w", "leaseUntil": 1 };
    with(job, claim)
}

fn ended(job: &Document, state: &str) -> Document {
    with(job, doc! { "state": state, "owner": null, "leaseUntil": null })
}

fn finished(job: &Document) -> Document {
    let stats = doc! { "bytes": 10_i64, "sha256": "ab", "rows": 2_i64 };
    with(&ended(job, "FINISHED"), doc! { "exportUri": format!("s3://bucket/{KEY}"), "stats": stats })
}

fn write() -> Write {
    Write { key: KEY.to_owned(), status: 200, is_create_only: true, span_us: (1, 2) }
}

/// A job with this history; the last version is the stored one.
fn evidence_of(versions: Vec<Document>) -> Evidence {
    let last = versions.last().expect("a version").clone();
    let mut evidence = Evidence {
        accepted: vec![AcceptedJob { job_id: JOB.to_owned(), key: Some("a".to_owned()) }],
        jobs: vec![last],
        writes: vec![write()],
        left_in_queues: vec![("jobs".to_owned(), 0), ("retry".to_owned(), 0)],
        dead_letters: vec![POISON.to_vec()],
        poison: vec![Poison { body: POISON.to_vec(), may_be_lost: false }],
        bucket: "bucket".to_owned(),
        key_prefix: "exports/".to_owned(),
        ..Evidence::default()
    };
    evidence.history.insert(JOB.to_owned(), versions.into_iter().map(Some).collect());
    let result =
        FoundResult { bytes: 10, sha256: "ab".to_owned(), reference_rows: 2, ..FoundResult::default() };
    evidence.results.insert(JOB.to_owned(), result);
    evidence
}

/// A job that was claimed, handed over, claimed again and finished.
fn good() -> Evidence {
    let published = with(&waiting(), doc! { "publishedAt": 1 });
    let first = claimed(&published);
    let handed_over = with(&ended(&first, "NOT_STARTED"), doc! { "publishedAt": null, "attempts": 0_i64 });
    let second = claimed(&handed_over);
    evidence_of(vec![waiting(), published, first, handed_over, second.clone(), finished(&second)])
}

/// With another last step instead of the commit.
fn ending_with(last: impl Fn(&Document) -> Document) -> Evidence {
    let running = claimed(&waiting());
    evidence_of(vec![waiting(), running.clone(), last(&running)])
}

fn numbers(evidence: &Evidence) -> Vec<u8> {
    let mut numbers: Vec<u8> = violations(evidence).iter().map(|violation| violation.invariant).collect();
    numbers.dedup();
    numbers
}

#[track_caller]
fn assert_violates(invariant: u8, evidence: &Evidence) {
    let found = violations(evidence);
    assert!(found.iter().any(|violation| violation.invariant == invariant), "{invariant}: {found:#?}");
}

/// The correct evidence with one change.
fn but(change: impl FnOnce(&mut Evidence)) -> Evidence {
    let mut evidence = good();
    change(&mut evidence);
    evidence
}

/// The correct evidence with another stored job, also as the last version.
fn but_stored(changes: Document) -> Evidence {
    but(|evidence| {
        evidence.jobs[0].extend(changes);
        let stored = evidence.jobs[0].clone();
        *evidence.history.get_mut(JOB).expect("a history").last_mut().expect("a version") = Some(stored);
    })
}

fn failed(job: &Document, code: &str) -> Document {
    with(&ended(job, "FAILED"), doc! { "error": { "code": code } })
}

#[test]
fn correct_evidence_has_no_violation() {
    assert_eq!(violations(&good()), []);
    let cancelled = with(&waiting(), doc! { "state": "CANCELLED", "cancelRequested": true });
    let mut evidence = evidence_of(vec![waiting(), cancelled]);
    evidence.cancelled.insert(JOB.to_owned());
    assert_eq!(violations(&evidence), []);
    // The relay removed the announcement of the ended job.
    let entry = doc! { "kind": "export.finished", "at": 1 };
    let running = claimed(&waiting());
    let announced = with(&finished(&running), doc! { "unannounced": [entry] });
    let sent = with(&announced, doc! { "unannounced": [] });
    assert_eq!(violations(&evidence_of(vec![waiting(), running.clone(), announced.clone(), sent])), []);
    assert_violates(13, &evidence_of(vec![waiting(), running, announced]));
    // Its attempts were used up.
    let mut versions = vec![waiting()];
    for _ in 0..3 {
        let running = claimed(versions.last().expect("a version"));
        versions.extend([running.clone(), ended(&running, "NOT_STARTED")]);
    }
    versions.pop();
    let last = failed(versions.last().expect("a version"), "worker_lost");
    versions.push(last);
    assert_eq!(violations(&evidence_of(versions)), []);
    // A request for an unknown vehicle fails at once.
    let unknown = with(&waiting(), doc! { "vehicles": ["v_unknown"] });
    let running = claimed(&unknown);
    let evidence = evidence_of(vec![unknown, running.clone(), failed(&running, "unknown_vehicle")]);
    assert_eq!(violations(&evidence), []);
}

#[test]
fn lost_jobs() {
    let gone = but(|evidence| evidence.accepted.push(AcceptedJob { job_id: OTHER.to_owned(), key: None }));
    assert_eq!(numbers(&gone), [1]);
    let denied = but(|evidence| _ = evidence.unknown.insert(JOB.to_owned()));
    assert_eq!(numbers(&denied), [1]);
    assert_violates(1, &but(|evidence| evidence.history.get_mut(JOB).expect("a history").push(None)));
}

#[test]
fn a_uri_exactly_when_finished() {
    assert_violates(2, &but_stored(doc! { "exportUri": null }));
    let uri = format!("s3://bucket/{KEY}");
    assert_violates(2, &ending_with(|job| with(&failed(job, "x"), doc! { "exportUri": &uri })));
}

#[test]
fn partial_objects() {
    let missing = |found: &mut FoundResult| found.missing.push("not there".to_owned());
    let shorter = |found: &mut FoundResult| found.bytes = 9;
    let others = |found: &mut FoundResult| found.sha256 = "cd".to_owned();
    let more_rows = |found: &mut FoundResult| found.reference_rows = 3;
    for change in [missing, shorter, others, more_rows] {
        let evidence = but(|evidence| change(evidence.results.get_mut(JOB).expect("a result")));
        assert_eq!(numbers(&evidence), [3]);
    }
    assert_eq!(numbers(&but(|evidence| evidence.results.clear())), [3]);
}

#[test]
fn doubled_results() {
    let second = but(|evidence| {
        let versions = evidence.history.get_mut(JOB).expect("a history");
        let mut other = versions.last().cloned().flatten().expect("a version");
        other.insert("exportUri", "s3://bucket/exports/default/other.zip");
        versions.insert(versions.len() - 1, Some(other));
    });
    assert_violates(4, &second);
    let shared = but(|evidence| {
        let mut other = evidence.jobs[0].clone();
        other.insert("_id", OTHER);
        evidence.jobs.push(other);
    });
    assert_violates(4, &shared);
    let two_jobs = but(|evidence| {
        evidence.accepted.push(AcceptedJob { job_id: OTHER.to_owned(), key: Some("a".to_owned()) });
    });
    assert_violates(4, &two_jobs);
}

#[test]
fn ends_that_do_not_last() {
    let risen = but(|evidence| {
        let versions = evidence.history.get_mut(JOB).expect("a history");
        let last = versions.last().cloned().flatten().expect("a version");
        versions.extend([Some(ended(&last, "FAILED")), Some(last)]);
    });
    assert_violates(5, &risen);
    assert_eq!(numbers(&but(|evidence| _ = evidence.cancelled.insert(JOB.to_owned()))), [5]);
    let cancelled = |job: &Document| with(job, doc! { "cancelRequested": true });
    let running = cancelled(&claimed(&waiting()));
    assert_violates(
        5,
        &evidence_of(vec![waiting(), claimed(&waiting()), running.clone(), finished(&running)]),
    );
    assert_violates(5, &ending_with(|job| ended(job, "CANCELLED")));
}

#[test]
fn changes_that_no_rule_makes() {
    // A commit of an old epoch, of an epoch that was never claimed, and without a worker.
    assert_violates(6, &ending_with(|job| finished(&with(job, doc! { "epoch": 0_i64 }))));
    assert_violates(6, &evidence_of(vec![waiting(), finished(&waiting())]));
    assert_violates(6, &ending_with(|job| with(job, doc! { "owner": "another" })));
    assert_violates(6, &ending_with(|job| with(&finished(job), doc! { "owner": "w" })));
    assert_violates(6, &evidence_of(vec![claimed(&waiting())]));
    let unseen = but(|evidence| evidence.jobs[0].extend(doc! { "epoch": 3_i64 }));
    assert_eq!(numbers(&unseen), [6]);
}

#[test]
fn keys_that_are_written_twice() {
    let again = Write { span_us: (3, 4), ..write() };
    assert_eq!(numbers(&but(|evidence| evidence.writes.push(again.clone()))), [7]);
    let refused = Write { status: 412, ..again.clone() };
    assert_eq!(numbers(&but(|evidence| evidence.writes.push(refused))), [] as [u8; 0]);
    let plain = Write { key: "x".to_owned(), is_create_only: false, ..again };
    assert_eq!(numbers(&but(|evidence| evidence.writes.push(plain))), [7]);
}

#[test]
fn attempts_beyond_and_below_their_number() {
    let many = ending_with(|job| failed(&with(job, doc! { "attempts": 4_i64 }), "worker_lost"));
    assert_violates(8, &many);
    assert_eq!(numbers(&ending_with(|job| failed(job, "worker_lost"))), [8]);
    assert_eq!(numbers(&ending_with(|job| failed(job, "unknown_vehicle"))), [8]);
}

#[test]
fn messages_that_are_given_up_wrongly() {
    assert_eq!(numbers(&but(|evidence| evidence.dead_letters.clear())), [9]);
    let purged = but(|evidence| {
        evidence.dead_letters.clear();
        evidence.poison[0].may_be_lost = true;
    });
    assert_eq!(violations(&purged), []);
    let good_message = format!(r#"{{"v":1,"jobId":"{JOB}"}}"#).into_bytes();
    assert_eq!(numbers(&but(|evidence| evidence.dead_letters.push(good_message))), [9]);
}

#[test]
fn stuck_jobs_and_messages() {
    assert_eq!(numbers(&evidence_of(vec![waiting()])), [10, 13]);
    assert_eq!(numbers(&evidence_of(vec![waiting(), claimed(&waiting())])), [10, 13]);
    assert_eq!(numbers(&but(|evidence| evidence.left_in_queues[1].1 = 1)), [13]);
}

#[test]
fn other_content_and_other_places() {
    let other = but(|evidence| {
        let result = evidence.results.get_mut(JOB).expect("a result");
        result.differences.push("line 2: expected \"a\", got \"b\"".to_owned());
    });
    assert_eq!(numbers(&other), [11]);
    assert_violates(11, &but_stored(doc! { "vehicles": ["v_unknown"] }));
    assert_eq!(
        numbers(&but_stored(doc! { "exportUri": "s3://bucket/exports/other/1.zip" })),
        [12],
        "another tenant's place"
    );
    assert_eq!(numbers(&but_stored(doc! { "tenant": Bson::Null })), [12]);
}
