//! The commands that call the API: their requests, their exit codes, and that they print no
//! secrets.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::thread;

use export_testkit::program::{Ended, Program};
use serde_json::{Value, json};

use crate::space::EXPORTS;
use crate::stub::{Reply, Stub};

/// A key that must never be printed.
pub(crate) const KEY: &str = "hunter2-hunter2-hunter2";
/// The most verbose logs of all libraries, including targets that must be named explicitly.
const ALL: &str = "trace,hyper=trace,hyper_util=trace,reqwest=trace,rustls=trace,h2=trace";
pub(crate) const ID: &str = "01983c5e-7a01-7c3a-9d5e-0123456789ab";
const CREATE: [&str; 5] = ["create", "--from", "2018-11-30", "--to", "2018-12-01"];

pub(crate) fn program(url: &str, arguments: &[&str]) -> Program {
    let settings = [("EXPORTS_API_URL", url), ("EXPORTS_API_KEY", KEY), ("LOG_LEVEL", ALL)];
    Program::new(EXPORTS, arguments, &settings)
}

/// Runs the program and checks that it prints neither the key nor a signature.
pub(crate) fn run(url: &str, arguments: &[&str]) -> Ended {
    checked(program(url, arguments).run())
}

pub(crate) fn checked(ended: Ended) -> Ended {
    for secret in ["hunter2", "X-Amz-Signature"] {
        assert!(!ended.output.contains(secret), "{secret}: {}", ended.output);
    }
    ended
}

/// A job in this state, as the API describes it.
pub(crate) fn job(state: &str) -> Value {
    json!({ "_id": ID, "state": state, "startDate": "2018-11-30", "endDate": "2018-12-01", "timezone": "UTC", "vehicles": [],
        "archive": "zip", "progress": { "percent": 0.0, "vehiclesDone": 0, "vehiclesTotal": 0, "rows": 0, "points": 0, "bytes": 0 },
        "attempts": 0, "createdAt": "2018-12-01T07:00:00.000Z" })
}

fn assert_ends(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.output);
    for word in words {
        assert!(ended.output.contains(word), "{word}: {}", ended.output);
    }
}

#[test]
fn each_command_sends_its_own_idempotency_key_and_the_api_key() {
    let stub = Stub::start(|_, _| Reply::json(202, &job("NOT_STARTED")));
    let more = [
        "--vehicle",
        r"a\,b,c",
        "--vehicle",
        "d",
        "--step-ms",
        "60000",
        "--webhook-url",
        "https://hook.test/x",
    ];
    let ended = run(&stub.url(), &[&CREATE[..], &more].concat());
    assert_ends(&ended, 0, &[ID, &format!("`exports get {ID} --wait`")]);
    run(&stub.url(), &CREATE);
    let requests = stub.requests();
    let body: Value = serde_json::from_slice(&requests[0].body).expect("JSON");
    let expected = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "vehicles": ["a,b", "c", "d"], "stepMs": 60000,
        "webhookUrl": "https://hook.test/x" });
    assert_eq!((requests[0].line().as_str(), body), ("POST /export", expected));
    assert_eq!(requests[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    let keys = [0, 1].map(|index| requests[index].header("idempotency-key").expect("a key").to_owned());
    assert_ne!(keys[0], keys[1], "each command is a request of its own");

    // Below a path, and with a key from a file.
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "from-a-file\n").expect("written");
    let program = program(&format!("{}/fleet/v1/", stub.url()), &["cancel", ID]).without("EXPORTS_API_KEY");
    let ended = program.with("EXPORTS_API_KEY_FILE", file.path().to_str().expect("UTF-8")).run();
    assert_ends(&ended, 0, &["NOT_STARTED"]);
    assert!(!ended.output.contains("from-a-file"), "{}", ended.output);
    let last = stub.requests().pop().expect("a request");
    assert_eq!(last.line(), format!("DELETE /fleet/v1/export/{ID}"));
    assert_eq!(last.header("authorization"), Some("Bearer from-a-file"));
}

#[test]
fn b6_the_resolved_range_is_printed_and_b2_an_export_without_rows_has_a_warning() {
    let resolved = "from 2018-11-30T00:00:00+01:00 up to, not including, 2018-12-01T00:00:00+01:00, 24 h";
    let mut finished = job("FINISHED");
    finished["range"] =
        json!({ "from": "2018-11-29T23:00:00Z", "to": "2018-11-30T23:00:00Z", "text": resolved });
    finished["stats"] = json!({ "rows": 0, "points": 0, "rejected": 0, "bytes": 1, "sha256": "" });
    let answered = finished.clone();
    let stub = Stub::start(move |request, _| {
        Reply::json(if request.method == "POST" { 202 } else { 200 }, &answered)
    });
    let range = format!("range: {resolved}");
    let warning = "warning: the export has no rows: the vehicles have no points in the range";
    assert_ends(&run(&stub.url(), &CREATE), 0, &[&range]);
    assert_ends(&run(&stub.url(), &[&CREATE[..], &["--wait"]].concat()), 0, &[&range, warning]);
    assert_ends(&run(&stub.url(), &["get", ID]), 0, &[&format!("resolved   {resolved}"), warning]);

    // Of an earlier version of the API.
    let stub = Stub::start(|_, _| Reply::json(202, &job("NOT_STARTED")));
    let ended = run(&stub.url(), &CREATE);
    assert!(ended.code == Some(0) && !ended.output.contains("range:"), "{}", ended.output);
}

/// A finished job with data in 14 of 24 hours of its only vehicle.
fn finished_with_gaps() -> Value {
    let mut job = job("FINISHED");
    let gap = json!({ "from": "2018-11-30T08:00:00Z", "to": "2018-11-30T18:00:00Z", "hours": 10 });
    let worst = json!({ "vehicle": "vehicle_003", "hoursAsked": 24, "hoursWithData": 14, "percent": 58.3,
                        "longestGap": gap });
    job["stats"] = json!({ "rows": 1, "points": 1, "rejected": 0, "bytes": 1, "sha256": "", "coverage": {
        "hoursAsked": 24, "hoursWithData": 14, "percent": 58.3, "worstVehicle": worst, "worstParameter": null } });
    job
}

#[test]
fn hours_without_data_are_told_and_may_be_required() {
    let finished = finished_with_gaps();
    let stub = Stub::start(move |request, _| {
        Reply::json(if request.method == "POST" { 202 } else { 200 }, &finished)
    });
    let line = "coverage: 58.3 % of hours have data (worst: vehicle_003 58.3 %, longest gap 10 h from 2018-11-30T08:00:00Z)";
    let too_low = "vehicle_003 has data in 14 of 24 hours, 58.3 %, and --require-coverage asks for 95 %";
    let create = [&CREATE[..], &["--wait"]].concat();
    for command in [&create[..], &["get", ID], &["get", ID, "--wait"]] {
        assert_ends(&run(&stub.url(), command), 0, &[line]);
        let required = |percent| [command, &["--require-coverage", percent]].concat();
        assert_ends(&run(&stub.url(), &required("58.3")), 0, &[line]);
        assert_ends(&run(&stub.url(), &required("95")), 8, &[line, too_low]);
    }
    // Of an earlier version of the API, or not finished.
    let stub = Stub::start(|_, _| Reply::json(200, &job("STARTED")));
    let unknown = "it is not known which hours have data";
    assert_ends(&run(&stub.url(), &["get", ID, "--require-coverage", "1"]), 8, &[unknown]);
}

#[test]
fn each_warning_is_printed_once() {
    let mut accepted = job("NOT_STARTED");
    accepted["warnings"] = json!([{ "code": "range_not_over", "message": "the range is not over" }]);
    let mut finished = finished_with_gaps();
    finished["warnings"] = json!([
        { "code": "range_not_over", "message": "the range is not over" },
        { "code": "no_points", "message": "v\u{1b}[2J has no value", "vehicle": "v\u{1b}[2J" },
    ]);
    finished["warningsMore"] = 3.into();
    let stub = Stub::start(move |request, _| {
        if request.method == "POST" { Reply::json(202, &accepted) } else { Reply::json(200, &finished) }
    });
    let ended = run(&stub.url(), &[&CREATE[..], &["--wait"]].concat());
    let warnings: Vec<&str> = ended.output.lines().filter(|line| line.starts_with("warning: ")).collect();
    let expected = [
        "warning: the range is not over",
        "warning: v\u{fffd}[2J has no value",
        "warning: 3 more warnings not shown",
    ];
    assert_eq!((ended.code, warnings), (Some(0), expected.to_vec()), "{}", ended.output);
}

#[test]
fn the_age_of_the_catalog_is_told() {
    let page = |catalog: Value| json!({ "vehicles": [], "nextCursor": null, "refreshedAt": null, "catalog": catalog });
    for (catalog, words) in [
        (
            json!({ "updatedAt": null, "ageSeconds": null, "ready": false }),
            "warning: the list of vehicles was not made yet",
        ),
        (
            json!({ "updatedAt": "2018-11-30T00:00:00Z", "ageSeconds": 7, "ready": true }),
            "list of vehicles as of 7 s ago",
        ),
    ] {
        let page = page(catalog);
        let stub = Stub::start(move |_, _| Reply::json(200, &page));
        assert_ends(&run(&stub.url(), &["vehicles"]), 0, &[words]);
    }
}

#[test]
fn b5_the_version_names_the_zone_data() {
    let ended = Program::new(EXPORTS, &["--version"], &[]).run();
    let version = export_core::zone::program_version();
    assert_eq!((ended.code, ended.output), (Some(0), format!("exports {version}\n")));
}

#[test]
fn every_problem_has_its_exit_code_and_says_what_to_do() {
    for (status, kind, code, words) in [
        (400, "malformed", 2, &["It is malformed: As the test says.", "request id: request-7"][..]),
        (401, "unauthorized", 5, &["EXPORTS_API_KEY"]),
        (403, "forbidden", 5, &["use a key with the right for this"]),
        (404, "unknown-job", 4, &["`exports list`"]),
        (404, "unknown-path", 4, &["is EXPORTS_API_URL right"]),
        (409, "already-ended", 1, &["`exports get`"]),
        (410, "result-expired", 3, &["create the export again"]),
        (422, "idempotency-key-taken", 2, &["--idempotency-key"]),
        (429, "too-many-requests", 6, &["--retry-for"]),
        (500, "internal", 1, &["request id: request-7"]),
        (503, "unavailable", 6, &["try again later"]),
    ] {
        let kind_text = kind.to_owned();
        let stub = Stub::start(move |_, _| Reply::problem(status, &kind_text));
        let ended = run(&stub.url(), &["get", ID, "--retry-for", "0"]);
        assert_ends(&ended, code, words);
        assert_eq!(stub.lines().len(), 1, "{kind}");
    }
    // Errors of a body have a pointer, errors of a query a name.
    let stub = Stub::start(|_, _| {
        let errors = json!([{ "pointer": "/startDate", "detail": "no date" }, { "parameter": "limit", "detail": "no number" }]);
        Reply::json(
            422,
            &json!({ "type": "urn:exports:problem:invalid-request", "title": "It is wrong", "errors": errors }),
        )
    });
    assert_ends(&run(&stub.url(), &CREATE), 2, &["--from: no date", "--limit: no number"]);
}

#[test]
fn answers_that_are_not_the_api_s_are_reported_as_such() {
    let page = Stub::start(|_, _| Reply::bytes(200, b"<html>Welcome</html>"));
    assert_ends(&run(&page.url(), &["get", ID]), 1, &["is EXPORTS_API_URL the URL of an exports-api?"]);
    let other = Stub::start(|_, _| Reply::json(200, &json!({ "hello": "world" })));
    assert_ends(&run(&other.url(), &["get", ID]), 1, &["cannot understand", "_id"]);
    let proxy = Stub::start(|_, _| Reply::bytes(407, b"<html>Who are you?</html>"));
    assert_ends(&run(&proxy.url(), &["get", ID]), 1, &["407", "not a problem document"]);
    // Following a redirect would send the key to another server.
    let redirect = Stub::start(|_, _| Reply::bytes(301, b"").with("location", "http://127.0.0.1:1/"));
    assert_ends(&run(&redirect.url(), &["get", ID]), 1, &["301"]);
    let unreachable = run("http://127.0.0.1:1", &["get", ID, "--retry-for", "1"]);
    assert_ends(&unreachable, 6, &["retrying for up to 1 s", "is the service running?"]);
    assert!(unreachable.took.as_secs() < 20, "{:?}", unreachable.took);

    // Retrying cannot help if the server does not speak https.
    let plain = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("https://{}", plain.local_addr().expect("an address"));
    thread::spawn(move || {
        for mut connection in plain.incoming().map_while(Result::ok) {
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
        }
    });
    let ended = run(&url, &["get", ID]);
    assert_ends(&ended, 6, &["does the server speak https"]);
    assert!(!ended.output.contains("retrying for up to"), "{}", ended.output);

    // Text from outside cannot send control characters to the terminal.
    let mut failed = job("FAILED");
    failed["error"] = json!({ "code": "internal", "message": "\u{1b}[2Jgone" });
    let stub = Stub::start(move |_, _| Reply::json(200, &failed));
    let ended = run(&stub.url(), &["get", ID]);
    assert_ends(&ended, 0, &["state      FAILED", "gone (internal)"]);
    assert!(!ended.output.contains('\u{1b}'), "{}", ended.output);
}

#[test]
fn a_busy_service_is_asked_again_with_the_same_key() {
    let stub = Stub::start(|_, before| match before {
        0 => Reply::problem(503, "unavailable").with("retry-after", "1"),
        1 => Reply::problem(429, "too-many-requests").with("retry-after", "0"),
        2 => Reply::bytes(502, b"<html>"),
        3 => Reply::json(202, &job("NOT_STARTED")).cut_after(10),
        _ => Reply::json(202, &job("NOT_STARTED")),
    });
    let ended = run(&stub.url(), &CREATE);
    assert_ends(&ended, 0, &["retrying for up to 15 s"]);
    assert_eq!(ended.output.matches("retrying for up to").count(), 1, "printed once: {}", ended.output);
    assert!(ended.took.as_millis() >= 1_000, "Retry-After is obeyed: {:?}", ended.took);
    let keys: Vec<Option<String>> =
        stub.requests().iter().map(|request| request.header("idempotency-key").map(str::to_owned)).collect();
    assert_eq!(keys.len(), 5);
    assert!(keys.iter().all(|key| key.is_some() && *key == keys[0]), "{keys:?}");

    // A Retry-After beyond the patience ends the retries at once.
    let stub = Stub::start(|_, _| Reply::problem(503, "unavailable").with("retry-after", "3600"));
    assert_ends(&run(&stub.url(), &["get", ID]), 6, &["It is unavailable"]);
    assert_eq!(stub.lines().len(), 1);
}

#[test]
fn an_export_that_ends_badly_while_it_is_awaited() {
    for state in ["FAILED", "CANCELLED", "EXPIRED"] {
        let stub = Stub::start(move |request, before| match (request.method.as_str(), before) {
            ("POST", _) => Reply::json(202, &job("NOT_STARTED")),
            (_, 1) => Reply::json(200, &job("STARTED")).with("retry-after", "0"),
            _ => {
                let mut job = job(state);
                job["error"] = json!({ "code": "unknown_vehicle", "message": "there is no vehicle x" });
                Reply::json(200, &job)
            }
        });
        let folder = tempfile::tempdir().expect("a folder");
        let zip = folder.path().join("export.zip");
        let ended = run(&stub.url(), &[&CREATE[..], &["--download", zip.to_str().expect("UTF-8")]].concat());
        assert_ends(&ended, 3, &[ID, state, "there is no vehicle x (unknown_vehicle)"]);
        assert_eq!(stub.requests()[1].header("prefer"), Some("wait=10"));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
        // Without waiting, the state is an answer like any other.
        assert_ends(&run(&stub.url(), &["get", ID]), 0, &[state]);
    }
}

#[test]
fn lists_are_read_page_by_page() {
    let stub = Stub::start(|request, _| {
        let page = |number: usize, next: Value| {
            let mut job = job("FINISHED");
            job["_id"] = format!("01983c5e-7a01-7c3a-9d5e-{number:012}").into();
            job["vehicles"] = json!(["vehicle_001", "vehicle_002"]);
            Reply::json(200, &json!({ "exports": [job], "nextCursor": next }))
        };
        match request.target.split_once("cursor=").map(|(_, cursor)| cursor) {
            None => page(1, json!("a b&c")),
            Some("a+b%26c") => page(2, json!("last")),
            Some("last") => page(3, Value::Null),
            Some(other) => panic!("no such cursor: {other}"),
        }
    });
    let ended = run(&stub.url(), &["list", "--all", "--state", "FINISHED", "--state", "failed"]);
    assert_ends(
        &ended,
        0,
        &[
            "ID  ",
            "-000000000003  FINISHED  2018-11-30 … 2018-12-01  2         all         -      -     2018-12-01T07:00:00.000Z",
        ],
    );
    assert_eq!(stub.lines()[0], "GET /export?state=FINISHED%2CFAILED&limit=100");
    assert_eq!(stub.lines().len(), 3);

    let ended = run(&stub.url(), &["list", "--limit", "2", "--json"]);
    let jobs: Vec<Value> = ended
        .output
        .lines()
        .filter(|line| line.starts_with("{\"_id\""))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(jobs.len(), 2, "{}", ended.output);
    assert_eq!(jobs[1]["_id"], "01983c5e-7a01-7c3a-9d5e-000000000002");
    assert_eq!(stub.lines()[3..], ["GET /export?limit=2", "GET /export?limit=1&cursor=a+b%26c"]);

    let none = Stub::start(|_, _| Reply::json(200, &json!({ "exports": [], "nextCursor": null })));
    assert_ends(&run(&none.url(), &["list"]), 0, &["no exports found"]);
    assert_ends(&run(&none.url(), &["list", "--state", "DONE"]), 2, &["NOT_STARTED"]);
}

#[test]
fn vehicles_are_listed_with_their_parameters() {
    let stub = Stub::start(|_, _| {
        let vehicle = json!({ "vehicle": "vehicle_001", "firstHour": "2018-11-30T00:00:00Z", "lastHour": null,
            "parameters": [{ "name": "soc", "types": ["double"] }, { "name": "odo", "types": [] }] });
        Reply::json(200, &json!({ "vehicles": [vehicle], "nextCursor": null, "refreshedAt": null }))
    });
    let ended = run(&stub.url(), &["vehicles", "--search", "00 1"]);
    assert_ends(&ended, 0, &["vehicle_001  2018-11-30T00:00:00Z  -          soc, odo"]);
    assert_eq!(stub.lines(), ["GET /vehicles?search=00+1&limit=100"]);
}

#[test]
fn a_shared_result_is_shown_by_its_present_and_its_earlier_name() {
    for (name, is_shared, is_shown) in
        [("shared", true, true), ("coalesced", true, true), ("shared", false, false)]
    {
        let mut job = job("FINISHED");
        job[name] = is_shared.into();
        let stub = Stub::start(move |_, _| Reply::json(200, &job));
        let ended = run(&stub.url(), &["get", ID]);
        assert_eq!(
            ended.output.contains("shared     the result of an earlier export; changes within an hour"),
            is_shown,
            "{name}: {}",
            ended.output
        );
    }
}
