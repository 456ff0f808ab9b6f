//! `Prefer: wait=N`: answers that come when the job ends.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use export_api::config::LimitSettings;
use export_e2e::{Answer, Stack};
use export_settings::defaults;
use export_testkit::isolation::TestSpace;
use export_testkit::proxy::{Fault, Pattern, Rule};
use serde_json::{Value, json};

/// Well below every wait that is requested here.
const EARLY: Duration = Duration::from_secs(20);

fn one_day() -> Value {
    json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" })
}

async fn api() -> Stack {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    stack
}

/// The only job.
async fn newest(stack: &Stack) -> String {
    loop {
        let list = stack.get("/export").await.json();
        if let Some(id) = list["exports"][0]["_id"].as_str() {
            return id.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn get(stack: &Stack, path: &str, prefer: &str) -> Answer {
    stack.request("GET", path, &[("prefer", prefer)], Vec::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_answered_as_soon_as_the_job_ends() {
    let stack = api().await;
    let job_id = stack.accepted(&one_day()).await;
    let path = format!("/export/{job_id}");
    let began = Instant::now();
    let (answer, ()) = tokio::join!(get(&stack, &path, "respond-async, wait=45"), async {
        let held = stack.claim(&job_id).await;
        held.progress(50).await;
        held.finish(&[]).await;
    });
    assert!(began.elapsed() < EARLY, "{:?}", began.elapsed());
    assert_eq!((answer.status, &answer.json()["state"]), (200, &json!("FINISHED")));
    assert_eq!(answer.header("preference-applied"), Some("wait=45"));
    assert!(answer.json()["downloadUrl"].is_string(), "with a link: {answer:?}");
    assert_eq!(answer.header("retry-after"), None, "nothing more will come");

    // There is nothing to wait for in an ended job.
    let began = Instant::now();
    assert_eq!(get(&stack, &path, "wait=600").await.header("preference-applied"), Some("wait=50"));
    assert!(began.elapsed() < EARLY);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_waits_for_its_job() {
    let stack = api().await;
    let headers = [("content-type", "application/json"), ("prefer", "wait=45")];
    let began = Instant::now();
    let (answer, ()) =
        tokio::join!(stack.request("POST", "/export", &headers, one_day().to_string().into_bytes()), async {
            stack.claim(&newest(&stack).await).await.fail().await;
        });
    assert!(began.elapsed() < EARLY, "{:?}", began.elapsed());
    assert_eq!((answer.status, &answer.json()["state"]), (202, &json!("FAILED")));
    assert_eq!((answer.header("preference-applied"), answer.header("retry-after")), (Some("wait=45"), None));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_its_time() {
    let stack = api().await;
    let path = format!("/export/{}", stack.accepted(&one_day()).await);
    let began = Instant::now();
    let answer = get(&stack, &path, "wait=1").await;
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < EARLY, "{took:?}");
    assert_eq!((answer.status, &answer.json()["state"]), (200, &json!("NOT_STARTED")));
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    assert!(answer.header("retry-after").is_some());

    // An invalid preference is ignored.
    let answer = get(&stack, &path, "wait=soon").await;
    assert_eq!((answer.status, answer.header("preference-applied")), (200, None));
    // A client that sends its ETag gets 304 after the wait, because nothing has changed.
    let etag = answer.header("etag").expect("a tag").to_owned();
    let headers = [("if-none-match", etag.as_str()), ("prefer", "wait=1")];
    let answer = stack.request("GET", &path, &headers, Vec::new()).await;
    assert_eq!((answer.status, answer.header("preference-applied")), (304, Some("wait=1")));
    stack.stop().await;
}

/// A service that stops answers waiting clients at once and completely.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_the_service() {
    let (space, mongodb) = TestSpace::create_behind_mongodb_proxy().await;
    let stack = Stack::start_api(space).await;
    stack.provision().await;
    let job_id = stack.accepted(&one_day()).await;
    let path = format!("/export/{job_id}");
    let reads = mongodb.add(Rule::request(Pattern::any().containing(&job_id), Fault::None));
    let (answer, began) = tokio::join!(get(&stack, &path, "wait=45"), async {
        // The job was found, and the wait begins with a second read.
        reads.until_seen(2).await;
        let mut events = stack.events(&job_id, &[]).await;
        events.next().await.expect("an event");
        stack.ask_to_stop();
        assert_eq!(events.next().await, None, "the stream ends, too");
        Instant::now()
    });
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!((answer.status, &answer.json()["state"]), (200, &json!("NOT_STARTED")));
    stack.stop().await;
}

/// A caller with the maximum number of waits is answered at once, and not refused.
#[tokio::test(flavor = "multi_thread")]
async fn waits_per_caller_are_limited() {
    let limits = LimitSettings { max_streams_per_caller: NonZeroU32::MIN, ..defaults() };
    let stack = Stack::start_api_within(TestSpace::create().await, limits).await;
    stack.provision().await;
    let path = format!("/export/{}", stack.accepted(&one_day()).await);
    let answers: [Answer; 2] =
        tokio::join!(get(&stack, &path, "wait=5"), get(&stack, &path, "wait=5")).into();
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200]);
    let granted = answers.iter().filter(|answer| answer.header("preference-applied") == Some("wait=5"));
    assert_eq!(granted.count(), 1, "{answers:?}");
    // Its wait no longer counts against the limit.
    assert_eq!(get(&stack, &path, "wait=0").await.header("preference-applied"), Some("wait=0"));
    stack.stop().await;
}
