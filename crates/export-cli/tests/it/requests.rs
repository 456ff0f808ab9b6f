//! The request as flags: the same names in `create` and `run`, dates and steps as people write
//! them, and errors that name flags.

use export_testkit::oddities;
use serde_json::{Value, json};

use crate::client::{ID, job, run};
use crate::space::{Space, stored};
use crate::stub::{Reply, Stub};

/// The body that `create` sends with these flags.
fn body_of(flags: &str) -> Value {
    let stub = Stub::start(|_, _| Reply::json(202, &job("NOT_STARTED")));
    let arguments: Vec<&str> = ["create"].into_iter().chain(flags.split(' ')).collect();
    let ended = run(&stub.url(), &arguments);
    assert_eq!(ended.code, Some(0), "{flags}: {}", ended.output);
    serde_json::from_slice(&stub.requests()[0].body).expect("JSON")
}

#[test]
fn create_sends_what_the_flags_mean() {
    for (flags, expected) in [
        ("--day 2018-11-30", json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })),
        (
            "--day 2018-11-30 --step 15min --fill previous --timezone europe/amsterdam",
            json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "stepMs": 900_000, "fill": "previous",
                    "timezone": "europe/amsterdam" }),
        ),
        (
            "--start-date 2018-11-30 --end-date 2018-12-02 --vehicles a,b --parameters c --step-ms 5",
            json!({ "startDate": "2018-11-30", "endDate": "2018-12-02", "vehicles": ["a", "b"], "parameters": ["c"],
                    "stepMs": 5 }),
        ),
        (
            "--from 2018-11-30T06:00 --to 2018-11-30T09:00 --timezone utc --label weekly",
            json!({ "startDate": "2018-11-30T06:00", "endDate": "2018-11-30T09:00", "timezone": "utc", "label": "weekly" }),
        ),
    ] {
        assert_eq!(body_of(flags), expected, "{flags}");
    }
    // Relative to the current time: whole days, and a week from Monday to Monday.
    let date = |value: &Value| {
        value.as_str().and_then(|text| text.parse::<chrono::NaiveDate>().ok()).expect("a day")
    };
    for (flags, days) in [("--from -7d", 7), ("--from -2w", 14), ("--last-week", 7), ("--day -1d", 1)] {
        let body = body_of(flags);
        assert_eq!((date(&body["endDate"]) - date(&body["startDate"])).num_days(), days, "{flags}: {body}");
    }
}

/// `run` has the same flags, and local times.
#[test]
fn run_understands_the_same_flags() {
    let space = Space::with_vehicles(&stored(&oddities::one_day(), "vehicle_"));
    let dump = space.dump();
    let exported = |flags: &str, zip: &str| {
        let result = space.result(zip);
        let paths = ["run", "--dump", dump.to_str().expect("UTF-8"), "-o", result.to_str().expect("UTF-8")];
        let arguments: Vec<&str> = paths.into_iter().chain(flags.split(' ')).collect();
        export_testkit::program::Program::new(crate::space::EXPORTS, &arguments, &[]).run()
    };
    for (number, flags) in [
        "--day 2018-11-30 --step 1m --vehicle vehicle_aligned --timezone europe/amsterdam",
        "--from 2018-11-30 --to 2018-12-01 --step-ms 60000 --vehicle vehicle_aligned --timezone Europe/Amsterdam",
        "--start-date 2018-11-30T00:00 --end-date 2018-12-01T00:00 --step 60s --vehicles vehicle_aligned --timezone EUROPE/AMSTERDAM",
    ]
    .into_iter()
    .enumerate()
    {
        let ended = exported(flags, &format!("{number}.zip"));
        assert_eq!(ended.code, Some(0), "{flags}: {}", ended.output);
        let range = "range: from 2018-11-30T00:00:00+01:00 up to, not including, 2018-12-01T00:00:00+01:00, 24 h";
        assert!(ended.output.contains(range), "{flags}: {}", ended.output);
    }
    for (flags, expected) in [
        (
            "--day 2018-11-30 --timezone Europe/Amsterdan",
            "--timezone: is not an IANA time zone; did you mean Europe/Amsterdam?",
        ),
        ("--day 2018-11-30 --step 1mo", "--step: calendar weeks, months and years are no fixed lengths"),
        ("--from 2018-11-30", "--to: is required"),
        ("--vehicle a", "--from: is required"),
        (
            "--day 2018-11-30 --vehicle vehicle_alignet",
            "--vehicle \"vehicle_alignet\": unknown vehicle; did you mean vehicle_aligned?",
        ),
        ("--day 2018-11-30 --fill previous", "--fill: means nothing without --step"),
        ("--day 2018-11-30 --compression zstd", "or ask for --archive none"),
    ] {
        let ended = exported(flags, "none.zip");
        assert_eq!(ended.code, Some(2), "{flags}: {}", ended.output);
        assert!(ended.output.contains(expected), "{flags}: {}", ended.output);
    }
}

/// Errors about every field of a request, and of a list's query, are shown as errors of flags.
#[test]
fn errors_of_the_api_name_flags() {
    let refused = |errors: Value| {
        Stub::start(move |_, _| {
            let kind = "urn:exports:problem:invalid-request";
            Reply::json(422, &json!({ "type": kind, "title": "The request is not valid", "errors": errors }))
        })
    };
    let description: Value =
        serde_json::from_str(include_str!("../../../../docs/openapi.json")).expect("JSON");
    let fields =
        description["components"]["schemas"]["ExportRequest"]["properties"].as_object().expect("fields");
    let help = run("http://127.0.0.1:1", &["create", "--help"]).output;
    // Sent by `exports retry`, and the former name of a field.
    let without_flag = ["retryOf", "force"];
    for field in fields.keys().filter(|field| !without_flag.contains(&field.as_str())) {
        let stub = refused(json!([{ "pointer": format!("/{field}"), "detail": "is wrong" }]));
        let ended = run(&stub.url(), &["create", "--from", "2018-11-30", "--to", "2018-12-01"]);
        assert_eq!(ended.code, Some(2), "{}", ended.output);
        let line = ended.output.lines().find(|line| line.ends_with(": is wrong")).expect("an error");
        let flag = line.trim().trim_end_matches(": is wrong");
        assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")), "{field}: {flag}");
    }
    let queries = description["paths"]["/export"]["get"]["parameters"].as_array().expect("parameters");
    let help = run("http://127.0.0.1:1", &["list", "--help"]).output;
    for name in queries.iter().filter_map(|query| query["name"].as_str()).filter(|name| *name != "cursor") {
        let stub = refused(json!([{ "parameter": name, "detail": "is wrong" }]));
        let ended = run(&stub.url(), &["list"]);
        assert!(ended.output.contains(&format!("--{name}: is wrong")), "{}", ended.output);
        assert!(help.contains(&format!("--{name}")), "{name}");
    }

    let stub = refused(json!([
        { "pointer": "/startDate", "detail": "there is no 2018-11-31: that month has 30 days" },
        { "pointer": "/vehicles/1", "detail": "unknown vehicle; did you mean vehicle_001? GET /vehicles lists them" },
    ]));
    let ended = run(&stub.url(), &["create", "--last-week", "--vehicle", "a,vehicle_01"]);
    assert!(ended.output.contains("--last-week: there is no 2018-11-31"), "{}", ended.output);
    let vehicle =
        "--vehicle \"vehicle_01\": unknown vehicle; did you mean vehicle_001? `exports vehicles` lists them";
    assert!(ended.output.contains(vehicle), "{}", ended.output);
}

#[test]
fn a_request_is_made_like_an_earlier_one() {
    let mut earlier = job("FAILED");
    earlier["timezone"] = "Europe/Amsterdam".into();
    earlier["vehicles"] = json!(["vehicle_001"]);
    earlier["parameters"] = json!(["soc", "odo"]);
    earlier["label"] = "weekly".into();
    earlier["webhookUrl"] = "https://hook.test/".into();
    earlier["format"] = "parquet".into();
    let stub = Stub::start(move |request, _| match request.method.as_str() {
        "POST" => Reply::json(202, &job("NOT_STARTED")),
        _ => Reply::json(200, &earlier),
    });
    let ended = run(&stub.url(), &["create", "--like", ID, "--day", "2018-12-07", "--parameter", "speed"]);
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let requests = stub.requests();
    assert_eq!(requests[0].line(), format!("GET /export/{ID}"));
    let body: Value = serde_json::from_slice(&requests[1].body).expect("JSON");
    let expected = json!({ "startDate": "2018-12-07", "endDate": "2018-12-08", "timezone": "Europe/Amsterdam",
        "vehicles": ["vehicle_001"], "parameters": ["speed"], "webhookUrl": "https://hook.test/", "archive": "zip",
        "format": "parquet" });
    assert_eq!(body, expected);
}

#[test]
fn lists_are_filtered_by_the_service() {
    let stub = Stub::start(|_, _| Reply::json(200, &json!({ "exports": [], "nextCursor": null })));
    let flags =
        ["list", "--since", "2018-11-30", "--vehicle", "Bus 1", "--mine", "--state", "failed,EXPIRED"];
    assert_eq!(run(&stub.url(), &flags).code, Some(0));
    let query = "state=FAILED%2CEXPIRED&since=2018-11-30&vehicle=Bus+1&mine=true&limit=20";
    assert_eq!(stub.lines(), [format!("GET /export?{query}")]);
    let ended = run(&stub.url(), &["list", "--since", "7 years"]);
    assert!(ended.code == Some(2) && ended.output.contains("--since: "), "{}", ended.output);
    assert_eq!(stub.lines().len(), 1);
}

/// The export of an idempotency key that was sent before may have ended.
#[test]
fn a_finished_export_is_not_called_accepted() {
    let mut shared = job("FINISHED");
    shared["shared"] = true.into();
    shared["stats"] = json!({ "rows": 7, "points": 8, "rejected": 0, "bytes": 1, "sha256": "" });
    shared["madeAt"] = "2018-12-01T06:00:00Z".into();
    let with_time = shared.clone();
    shared["madeAt"] = Value::Null;
    for (job, time) in [(with_time, ", made 2018-12-01T06:00:00Z"), (shared, "")] {
        let stub = Stub::start(move |_, _| Reply::json(202, &job));
        for more in [&[][..], &["--wait"], &["--json"]] {
            let ended = run(&stub.url(), &[&["create", "--day", "2018-11-30"][..], more].concat());
            assert_eq!(ended.code, Some(0), "{}", ended.output);
            let note = format!(
                "shares the result of an earlier export{time}; changes within an hour that had data are not noticed: --fresh reads again"
            );
            for line in ["FINISHED: 0 vehicles, 7 rows, 8 points", &note, &format!("`exports download {ID}`")]
            {
                assert!(ended.output.contains(line), "{line}: {}", ended.output);
            }
            assert!(
                !ended.output.contains("accepted") && !ended.output.contains("waits for its end"),
                "{}",
                ended.output
            );
        }
        assert!(
            stub.lines().iter().all(|line| line == "POST /export"),
            "it is not waited for: {:?}",
            stub.lines()
        );
    }
}

#[test]
fn get_tells_the_whole_request() {
    let mut json = job("FINISHED");
    for (name, value) in [
        ("label", json!("weekly report")),
        ("retryOf", json!("01983c5e-7a01-7c3a-9d5e-000000000001")),
        ("createdBy", json!("vxk_1")),
        ("timezone", json!("Europe/Amsterdam")),
        ("vehicles", json!(["a", "b"])),
        ("parameters", json!(["soc"])),
        ("format", json!("csv")),
        ("timeFormat", json!("rfc3339")),
        ("webhookUrl", json!("https://hook.test/")),
        ("stats", json!({ "rows": 1, "points": 2, "rejected": 0, "bytes": 3_000, "sha256": "ab" })),
        ("attempts", json!(1)),
        ("attemptsMax", json!(5)),
        ("worker", json!("host-1")),
        ("waitingFor", json!("sameExport")),
        ("lastSignAt", json!("2018-12-01T07:00:30.000Z")),
        ("nextTryAt", json!("2018-12-01T07:00:40.000Z")),
        ("finishedAt", json!("2018-12-01T07:01:00.000Z")),
        ("expiresAt", json!("2018-12-08T07:01:00.000Z")),
    ] {
        json[name] = value;
    }
    let stub = Stub::start(move |_, _| Reply::json(200, &json));
    let ended = run(&stub.url(), &["get", ID, "--quiet"]);
    let shown: Vec<&str> =
        ended.output.lines().filter(|line| !line.contains(" DEBUG ") && !line.contains(" TRACE ")).collect();
    let expected = format!(
        "export     {ID}
label      weekly report
retry of   01983c5e-7a01-7c3a-9d5e-000000000001
state      FINISHED
waiting    for another export of the same request, whose result it will share
range      2018-11-30 … 2018-12-01 Europe/Amsterdam
vehicles   a, b
parameters soc
files      csv, time-format rfc3339
webhook    https://hook.test/
progress   0.0 %, 0 of 0 vehicles, 0 rows, 0 B
attempts   1 of 5
worker     host-1
last sign  2018-12-01T07:00:30.000Z
points     2, 0 rejected
size       3,000 bytes
sha256     ab
created by vxk_1
created    2018-12-01T07:00:00.000Z
finished   2018-12-01T07:01:00.000Z
expires    2018-12-08T07:01:00.000Z"
    );
    assert!(shown.join("\n").contains(&expected), "{}", shown.join("\n"));
}
