//! `--retry-for`: what fails is said once, and until when it is retried; then the program ends.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{ID, run};
use crate::stub::{Reply, Stub};

/// The URL of a server that is away.
fn url_of_none() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

#[test]
fn an_outage_is_announced_once_and_ends_when_it_was_said_to() {
    let url = url_of_none();
    let began_at = chrono::Utc::now();
    let ended = run(&url, &["get", ID, "--retry-for", "2"]);
    let took = ended.took;
    assert_eq!(ended.code, Some(6), "{}", ended.output);
    let notes: Vec<&str> =
        ended.output.lines().filter(|line| line.contains("; retrying for up to ")).collect();
    let [note] = notes[..] else { panic!("not announced once: {}", ended.output) };
    assert!(note.contains("cannot reach") && note.contains("; retrying for up to 2 s, until "), "{note}");
    let until = note.rsplit(' ').next().and_then(|time| time.parse::<chrono::DateTime<chrono::Utc>>().ok());
    let until = until.unwrap_or_else(|| panic!("no time: {note}"));
    // To the second.
    assert!(
        until >= began_at + Duration::from_secs(1) && until <= began_at + Duration::from_secs(2) + took,
        "{note}"
    );
    assert!(took >= Duration::from_secs(2), "not before: {took:?}");

    let ended = run(&url, &["get", ID, "--retry-for", "0"]);
    assert!(ended.code == Some(6) && !ended.output.contains("retrying for"), "{}", ended.output);
}

/// After a busy answer the server accepts connections and never answers: an attempt takes no longer
/// than the retries may.
#[test]
fn a_server_that_does_not_answer_does_not_prolong_the_retries() {
    let stub = Stub::start(|_, before| {
        if before > 0 {
            // Longer than the test's patience: the program must leave before.
            thread::sleep(Duration::from_mins(1));
        }
        Reply::problem(503, "unavailable")
    });
    let began_at = Instant::now();
    let ended = run(&stub.url(), &["get", ID, "--retry-for", "2"]);
    assert_eq!(ended.code, Some(6), "{}", ended.output);
    let took = began_at.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(25), "less than the 30 s of one attempt: {took:?}");
    assert!(
        ended.output.contains("It is unavailable") && ended.output.contains("retrying for up to 2 s"),
        "{}",
        ended.output
    );
}
