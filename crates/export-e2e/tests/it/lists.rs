//! `GET /export`: pages of jobs.

use export_e2e::{Answer, Stack};
use export_testkit::isolation::TestSpace;
use serde_json::{Value, json};

fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let jobs = answer.json()["exports"].as_array().expect("a list").clone();
    jobs.iter().map(|job| job["_id"].as_str().expect("an id").to_owned()).collect()
}

/// Every job is on one page, newest first, by the cursor and by the link.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_followed_by_cursor_or_link() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let mut made = Vec::new();
    for number in 0..7 {
        let job_id = stack.accepted(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).await;
        if number % 2 == 0 {
            stack.claim(&job_id).await;
        }
        made.insert(0, job_id);
    }
    let (mut by_cursor, mut by_link) = (Vec::new(), Vec::new());
    let mut path = "/export?limit=3".to_owned();
    loop {
        let page = stack.get(&path).await;
        by_cursor.extend(ids(&page));
        let Some(cursor) = page.json()["nextCursor"].as_str().map(str::to_owned) else {
            assert_eq!((page.header("link"), &page.json()["nextCursor"]), (None, &Value::Null));
            break;
        };
        path = format!("/export?limit=3&cursor={cursor}");
    }
    assert_eq!(by_cursor, made);

    path = "/export?state=STARTED,FINISHED&limit=3".to_owned();
    loop {
        let page = stack.get(&path).await;
        by_link.extend(ids(&page));
        let Some(link) = page.header("link") else { break };
        let (address, relation) = link.split_once('>').expect("an address");
        assert_eq!(relation, "; rel=\"next\"");
        path = address.trim_start_matches('<').to_owned();
    }
    let started: Vec<_> = made.iter().step_by(2).cloned().collect();
    assert_eq!(by_link, started);
    stack.stop().await;
}

/// A list has no links, whatever results it names: they would expire before they are used.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_no_links() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    for archive in ["zip", "none"] {
        let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "archive": archive });
        let job_id = stack.accepted(&body).await;
        let objects = if archive == "none" { &["manifest.json"][..] } else { &[] };
        stack.claim(&job_id).await.finish(objects).await;
        let listed = stack.get("/export?limit=1&state=FINISHED").await.json()["exports"][0].clone();
        let mut job = stack.get(&format!("/export/{job_id}")).await.json();
        assert!(!job["downloadUrl"].is_null() || !job["objects"].is_null(), "{job:#}");
        (job["downloadUrl"], job["objects"]) = (Value::Null, Value::Null);
        assert_eq!(listed, job, "otherwise the same job");
    }
    stack.stop().await;
}

/// A database that is not provisioned has no index; its jobs are listed nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_without_indexes() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    assert_eq!(ids(&stack.get("/export").await), [""; 0], "there is no collection yet");
    let job_id = stack.accepted(&json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })).await;
    for query in ["", "?state=NOT_STARTED,FAILED"] {
        assert_eq!(ids(&stack.get(&format!("/export{query}")).await), [job_id.as_str()]);
    }
    stack.stop().await;
}
