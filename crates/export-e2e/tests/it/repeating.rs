//! Jobs that are named, found again and repeated: `label`, `retryOf`, the filters of lists, and
//! `exports retry` on the real programs.

use export_core::access::Scope;
use export_e2e::{Answer, Stack};
use export_testkit::isolation::TestSpace;
use serde_json::{Value, json};
use std::time::Duration;

use crate::callers::{Caller, api_with_keys};
use crate::command_line::{exports, run};

fn a_day(more: &Value) -> Value {
    let mut body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body
}

fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let jobs = answer.json()["exports"].as_array().expect("a list").clone();
    jobs.iter().map(|job| job["_id"].as_str().expect("an id").to_owned()).collect()
}

/// The pointer of the only error.
fn pointer(answer: &Answer) -> String {
    assert_eq!(answer.status, 422, "{answer:?}");
    let errors = answer.json()["errors"].as_array().expect("errors").clone();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0]["pointer"].as_str().expect("a pointer").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_by_caller_vehicle_and_time() {
    let stack = api_with_keys(Duration::from_secs(5)).await;
    let both = [Scope::Read, Scope::Write];
    let [mine, other, elsewhere] = [
        Caller::of(&stack, "acme", &both).await,
        Caller::of(&stack, "acme", &both).await,
        Caller::of(&stack, "other", &both).await,
    ];
    let first =
        mine.accepted(&a_day(&json!({ "vehicles": ["bus_1", "bus_2"], "label": "  weekly report " }))).await;
    let second = other.accepted(&a_day(&json!({ "vehicles": ["bus_2"] }))).await;
    let third = other.accepted(&a_day(&json!({}))).await;
    elsewhere.accepted(&a_day(&json!({ "vehicles": ["bus_1"] }))).await;

    let job = mine.get(&format!("/export/{first}")).await.json();
    let described = (&job["label"], &job["createdBy"], &job["retryOf"], &job["fresh"]);
    assert_eq!(described, (&json!("weekly report"), &json!(mine.key_id()), &Value::Null, &json!(false)));
    let newest_first = [third.as_str(), &second, &first].map(str::to_owned);
    for (query, expected) in [
        ("", &newest_first[..]),
        ("?mine=true", &newest_first[2..]),
        ("?mine=false&vehicle=bus_2", &newest_first),
        ("?vehicle=bus_1", &[third.clone(), first.clone()]),
        ("?vehicle=bus_1&mine=true", &newest_first[2..]),
        ("?vehicle=bus_1&mine=true&state=FAILED", &[]),
        ("?since=2018-11-30", &newest_first),
        ("?since=2999-01-01T00:00:00Z", &[]),
    ] {
        assert_eq!(ids(&mine.get(&format!("/export{query}")).await), expected, "{query}");
    }
    let created = job["createdAt"].as_str().expect("a time");
    assert_eq!(ids(&mine.get(&format!("/export?since={created}")).await), newest_first, "from then on");

    // The link of a page has the filter.
    let page = mine.get("/export?vehicle=bus_2&since=2018-11-30&limit=2").await;
    let link = page.header("link").expect("a next page").to_owned();
    let path = link.trim_start_matches('<').split_once('>').expect("an address").0.to_owned();
    assert_eq!(ids(&mine.get(&path).await), newest_first[2..]);
    for wrong in ["since=yesterday", "vehicle=", "mine=yes", "label=x"] {
        assert_eq!(mine.get(&format!("/export?{wrong}")).await.status, 400, "{wrong}");
    }
    for label in [json!(""), json!("a\nb"), json!("x".repeat(101)), json!(7)] {
        let refused = mine.send("POST", "/export", &[], Some(&a_day(&json!({ "label": label })))).await;
        assert_eq!(pointer(&refused), "/label", "{label}");
    }
    stack.stop().await;
}

/// Asks to repeat the job.
async fn retry(caller: &Caller<'_>, id: &str) -> Answer {
    let body = a_day(&json!({ "vehicles": ["bus_1"], "retryOf": id }));
    caller.send("POST", "/export", &[], Some(&body)).await
}

/// A job repeats another one of the caller's tenant that has ended without a result.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_job_that_ended_without_a_result_is_repeated() {
    let stack = api_with_keys(Duration::from_secs(5)).await;
    let both = [Scope::Read, Scope::Write];
    let (mine, elsewhere) =
        (Caller::of(&stack, "acme", &both).await, Caller::of(&stack, "other", &both).await);
    let [waiting, failed, finished] = [
        mine.accepted(&a_day(&json!({}))).await,
        mine.accepted(&a_day(&json!({ "vehicles": ["bus_1"] }))).await,
        mine.accepted(&a_day(&json!({ "vehicles": ["bus_2"] }))).await,
    ];
    stack.claim(&failed).await.fail().await;
    stack.claim(&finished).await.finish(&[]).await;
    let unknown = "01983c5e-7a01-7c3a-9d5e-0123456789ab";
    for (id, detail) in [
        (waiting.as_str(), "has not started"),
        (&finished, "has FINISHED"),
        (unknown, "no such job"),
        ("x", "not a job id"),
    ] {
        let refused = retry(&mine, id).await;
        assert_eq!(pointer(&refused), "/retryOf", "{id}");
        assert!(
            refused.json()["errors"][0]["detail"].as_str().is_some_and(|text| text.contains(detail)),
            "{refused:?}"
        );
    }
    // A job of another tenant is not told from one that does not exist.
    let (hidden, none) = (retry(&elsewhere, &failed).await.json(), retry(&elsewhere, unknown).await.json());
    assert_eq!(hidden["errors"], none["errors"]);
    assert_eq!(ids(&mine.get("/export").await).len(), 3, "nothing was created");

    let accepted = retry(&mine, &failed).await;
    assert_eq!((accepted.status, &accepted.json()["retryOf"]), (202, &json!(failed)));
    let id = accepted.json()["_id"].as_str().expect("an id").to_owned();
    assert_eq!(mine.get(&format!("/export/{id}")).await.json()["retryOf"], json!(failed));
    stack.stop().await;
}

/// `exports retry` after an outage: each failed export gets one new one, however often it is run.
#[tokio::test(flavor = "multi_thread")]
async fn failed_exports_are_retried_once() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let mut failed = Vec::new();
    for vehicle in ["bus_1", "bus_2"] {
        let id = stack
            .accepted(&a_day(&json!({ "vehicles": [vehicle], "label": vehicle, "format": "parquet" })))
            .await;
        stack.claim(&id).await.fail().await;
        failed.push(id);
    }
    let retry = ["retry", "--state", "FAILED", "--since", "1h"];
    let dry = run(exports(&stack.api_url, &[&retry[..], &["--dry-run"]].concat())).await;
    assert!(dry.code == Some(0) && failed.iter().all(|id| dry.output.contains(id)), "{}", dry.output);
    assert_eq!(ids(&stack.get("/export").await).len(), 2, "nothing was created");

    let ended = run(exports(&stack.api_url, &retry)).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let jobs = stack.get("/export").await.json()["exports"].as_array().expect("a list").clone();
    assert_eq!(jobs.len(), 4, "{jobs:?}");
    for new in &jobs[..2] {
        let old = jobs[2..].iter().find(|old| old["_id"] == new["retryOf"]).expect("the failed one");
        for field in ["startDate", "endDate", "timezone", "vehicles", "format", "archive", "label"] {
            assert_eq!(new[field], old[field], "{field}");
        }
        assert!(ended.output.lines().any(|line| Some(line) == new["_id"].as_str()), "{}", ended.output);
    }
    let again = run(exports(&stack.api_url, &retry)).await;
    assert!(again.code == Some(0) && again.output.contains("no exports to retry"), "{}", again.output);
    // By its id: the same new export.
    let by_id = run(exports(&stack.api_url, &["retry", &failed[0]])).await;
    assert_eq!(by_id.code, Some(0), "{}", by_id.output);
    assert_eq!(ids(&stack.get("/export").await).len(), 4, "no double");
    let anew = run(exports(&stack.api_url, &["retry", &failed[0], "--again"])).await;
    assert_eq!(anew.code, Some(0), "{}", anew.output);
    assert_eq!(ids(&stack.get("/export").await).len(), 5);

    // The last one is the caller's newest; an id is known by its end.
    let last = ids(&stack.get("/export?limit=1").await).remove(0);
    let cancelled = run(exports(&stack.api_url, &["cancel", "@last"])).await;
    assert!(cancelled.code == Some(0) && cancelled.output.contains(&last), "{}", cancelled.output);
    let shown = run(exports(&stack.api_url, &["get", &last[28..]])).await;
    assert!(shown.code == Some(0) && shown.output.contains("state      CANCELLED"), "{}", shown.output);
    assert!(shown.output.contains(&format!("retry of   {}", failed[0])), "{}", shown.output);
    let listed =
        run(exports(&stack.api_url, &["list", "--mine", "--vehicle", "bus_2", "--since", "1h"])).await;
    let rows = listed.output.lines().filter(|line| line.contains("  bus_2  ")).count();
    assert_eq!(rows, 2, "{}", listed.output);
    stack.stop().await;
}
