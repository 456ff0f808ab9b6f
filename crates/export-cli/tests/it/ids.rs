//! Commands take a whole id, a part of it, or `@last`.

use std::process::Command;

use serde_json::{Value, json};

use crate::client::{ID, job, run};
use crate::space::EXPORTS;
use crate::stub::{Reply, Request, Stub};

/// Two exports of the same moment, and one of another.
const IDS: [&str; 3] = [ID, "01983c5e-7a01-7c3a-9d5e-1111ffff0002", "01983c5e-7b01-7c3a-9d5e-2222ffff0003"];

/// Lists the exports in two pages, newest first; `@last` is the second.
fn answer(request: &Request, _: usize) -> Reply {
    let named = |id: &str| {
        let mut job = job("FINISHED");
        job["_id"] = id.into();
        job
    };
    let page = |ids: &[&str], next: Value| {
        let exports: Vec<Value> = ids.iter().map(|id| named(id)).collect();
        Reply::json(200, &json!({ "exports": exports, "nextCursor": next }))
    };
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    match (path, query) {
        ("/export", "mine=true&limit=1") => page(&IDS[1..2], json!("more")),
        ("/export", query) if query.contains("cursor=") => page(&IDS[2..], Value::Null),
        ("/export", _) if request.method == "GET" => page(&IDS[..2], json!("next")),
        ("/export", _) => Reply::json(202, &job("NOT_STARTED")),
        (path, _) => Reply::json(200, &named(path.trim_start_matches("/export/"))),
    }
}

#[test]
fn a_part_of_an_id_and_last_are_resolved() {
    for (text, id) in [
        (IDS[2], IDS[2]),
        ("456789ab", IDS[0]),
        ("FFFF0003", IDS[2]),
        ("01983c5e-7b", IDS[2]),
        ("@last", IDS[1]),
    ] {
        for command in
            [&["get", text][..], &["cancel", text], &["create", "--like", text, "--day", "2018-11-30"]]
        {
            let stub = Stub::start(answer);
            let ended = run(&stub.url(), command);
            assert_eq!(ended.code, Some(0), "{command:?}: {}", ended.output);
            let lines = stub.lines();
            assert!(
                lines.iter().any(|line| line.ends_with(&format!("/export/{id}"))),
                "{command:?}: {lines:?}"
            );
            let says_which = ended.output.to_lowercase().contains(&format!(" is {id}"));
            assert_eq!(says_which, text != id, "{}", ended.output);
        }
    }
}

#[test]
fn an_ambiguous_part_is_refused_with_the_candidates() {
    let stub = Stub::start(answer);
    let ended = run(&stub.url(), &["cancel", "01983c5e"]);
    assert_eq!(ended.code, Some(2), "{}", ended.output);
    for id in IDS {
        assert!(ended.output.contains(id), "{}", ended.output);
    }
    let ended = run(&stub.url(), &["cancel", "dead"]);
    assert!(
        ended.code == Some(4) && ended.output.contains("none of the newest 3 exports"),
        "{}",
        ended.output
    );
    let ended = run(&stub.url(), &["cancel", "vehicle"]);
    assert!(ended.code == Some(2) && ended.output.contains("@last"), "{}", ended.output);
    assert!(
        stub.lines().iter().all(|line| line.starts_with("GET ")),
        "nothing is cancelled: {:?}",
        stub.lines()
    );
}

/// A service with more exports than anybody wants to read.
#[test]
fn the_search_is_bounded() {
    let stub = Stub::start(|_, before| {
        let exports: Vec<Value> = (0..100)
            .map(|number| {
                let mut job = job("FINISHED");
                job["_id"] = format!("01983c5e-7a01-7c3a-9d5e-{:012x}", before * 100 + number).into();
                job
            })
            .collect();
        Reply::json(200, &json!({ "exports": exports, "nextCursor": "more" }))
    });
    let ended = run(&stub.url(), &["get", "dead"]);
    assert!(
        ended.code == Some(4) && ended.output.contains("none of the newest 1000 exports"),
        "{}",
        ended.output
    );
    assert_eq!(stub.lines().len(), 10);
}

/// On a terminal, which `script` gives the program, ids are short and times relative; programs get
/// whole ids and times.
#[test]
fn a_terminal_gets_short_ids_and_relative_times() {
    let stub = Stub::start(answer);
    let on_terminal = |arguments: &str| {
        let output = Command::new("script")
            .args(["-qec", &format!("{EXPORTS} {arguments}"), "/dev/null"])
            .env_clear()
            .envs([("EXPORTS_API_URL", stub.url().as_str()), ("PATH", "/usr/bin:/bin")])
            .output()
            .expect("script runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let listed = on_terminal("list");
    for id in IDS {
        assert!(listed.contains(&id[28..]) && !listed.contains(id), "{listed}");
        // What is printed is accepted.
        assert!(on_terminal(&format!("get {}", &id[28..])).contains(&format!("export     {id}")), "{id}");
    }
    assert!(listed.contains("  2018-12-01 ") && !listed.contains("2018-12-01T07:00"), "years ago: {listed}");
    let filtered = on_terminal("list --state FINISHED");
    assert!(filtered.contains(IDS[0]), "it may not be among the newest: {filtered}");
    let piped = run(&stub.url(), &["list"]).output;
    assert!(piped.contains(IDS[0]) && piped.contains("2018-12-01T07:00:00.000Z"), "{piped}");
}
