//! Exports with too many rows, and the priority of exports with many.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use bson::Document;
use export_api::config::{AccessSettings, AdmissionSettings, SizeSettings};
use export_e2e::{Answer, Stack, wide_admission};
use export_settings::results::ResultRowsSettings;
use export_testkit::hour::HourBuilder;
use export_testkit::isolation::TestSpace;
use serde_json::{Value, json};

use crate::admission::without_request_id;

/// 2018-11-30T00:00:00Z.
const DAY_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;
/// Longest wait until the catalog has measured a vehicle.
const MEASURED: Duration = Duration::from_mins(2);
/// More than the age of an uncertain answer of the catalog (`export_api::jobs::admission`), and far
/// less than the age of a certain one.
const NO_LONGER_UNCERTAIN: Duration = Duration::from_millis(500);

/// An API without keys, whose exports have at most this many rows.
async fn api(max_rows: u64, interactive_vehicle_days: u32) -> Stack {
    let rows = ResultRowsSettings { max_result_rows: NonZeroU64::new(max_rows).expect("not zero") };
    let size = SizeSettings { rows, interactive_vehicle_days, ..wide_admission().size };
    let admission = AdmissionSettings { size, ..wide_admission() };
    let space = TestSpace::create().await;
    let stack = Stack::start_api_admitting(space, AccessSettings::Anyone, admission).await;
    stack.provision().await;
    stack
}

/// Hours with points that are equally far apart.
fn hours(count: i64, points_per_hour: i64) -> Vec<Document> {
    let hour = |index: i64| {
        let hour_ms = DAY_MS + index * HOUR_MS;
        let points = (0..points_per_hour).map(|point| (hour_ms + point * HOUR_MS / points_per_hour, 1.5));
        HourBuilder::new(hour_ms).points(points).build()
    };
    (0..count).map(hour).collect()
}

async fn estimate(stack: &Stack, body: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    stack.request("POST", "/export/estimate", &headers, body.to_string().into_bytes()).await
}

/// The pointer and the detail of the only fault of a refused request; an estimate refuses the same.
async fn refused(stack: &Stack, body: &Value) -> (String, String) {
    let answer = stack.post(body).await;
    assert_eq!(answer.status, 422, "{}", String::from_utf8_lossy(&answer.body));
    let estimated = estimate(stack, body).await;
    assert_eq!(estimated.status, 422);
    assert_eq!(without_request_id(&estimated), without_request_id(&answer));
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:exports:problem:invalid-request");
    let errors = problem["errors"].as_array().expect("faults");
    assert_eq!(errors.len(), 1, "{problem:#}");
    let text = |name: &str| errors[0][name].as_str().expect("text").to_owned();
    (text("pointer"), text("detail"))
}

async fn priority_of(stack: &Stack, body: &Value) -> String {
    let answer = stack.post(body).await;
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["priority"].as_str().expect("a priority").to_owned()
}

/// The rows of a filled export follow from the request, without any catalog.
#[tokio::test(flavor = "multi_thread")]
async fn c3_an_export_that_fills_too_many_rows_is_refused() {
    let stack = api(1_209_600, 7).await;
    let body = |step_ms: u64, vehicles: &[&str]| {
        json!({
            "startDate": "2018-11-30", "endDate": "2018-12-07", "vehicles": vehicles,
            "stepMs": step_ms, "fill": "previous",
        })
    };
    let (one, two, three) =
        (["vehicle_1"], ["vehicle_1", "vehicle_2"], ["vehicle_1", "vehicle_2", "vehicle_3"]);
    for (step_ms, vehicles, rows) in [
        (1, &one[..], "604800000 rows"),
        (999, &two[..], "1210812 rows"),
        (1_000, &three[..], "1814400 rows"),
    ] {
        let (pointer, detail) = refused(&stack, &body(step_ms, vehicles)).await;
        assert_eq!(pointer, "/stepMs");
        assert!(detail.contains(rows) && detail.contains("at most 1209600;"), "{detail}");
    }
    let jobs = stack.get("/export").await.json();
    assert_eq!(jobs["exports"], json!([]), "nothing is stored of what was refused");
    assert_eq!(priority_of(&stack, &body(1_000, &two)).await, "bulk", "fourteen vehicle-days");
    assert_eq!(priority_of(&stack, &body(1_000, &one)).await, "interactive");
    // Without fill the points bound the rows, and the catalog does not know them yet.
    let mut raw = body(1, &one);
    raw["fill"] = json!("none");
    assert_eq!(priority_of(&stack, &raw).await, "interactive");
    stack.stop().await;
}

/// 604,800,000 rows are no small export.
#[tokio::test(flavor = "multi_thread")]
async fn c3_a_row_per_millisecond_of_a_week_is_bulk() {
    let stack = api(10_000_000_000, 7).await;
    let body = |step_ms: u64| {
        json!({
            "startDate": "2018-11-30", "endDate": "2018-12-07", "vehicles": ["vehicle_1"],
            "stepMs": step_ms, "fill": "previous",
        })
    };
    for (step_ms, expected) in [(1, "bulk"), (10, "bulk"), (100, "interactive"), (60_000, "interactive")] {
        assert_eq!(estimate(&stack, &body(step_ms)).await.json()["priority"], expected, "{step_ms}");
        assert_eq!(priority_of(&stack, &body(step_ms)).await, expected, "{step_ms}");
    }
    stack.stop().await;
}

/// The rows of a raw export follow from what the catalog has measured.
#[tokio::test(flavor = "multi_thread")]
async fn c3_an_export_whose_data_has_too_many_rows_is_refused() {
    let mut stack = api(700, 7).await;
    stack.space.insert_hours("1", "soc", hours(24, 60)).await;
    stack.start_worker().await;
    let vehicle = stack.space.vehicle("1");
    let body = |end: &str| json!({ "startDate": "2018-11-30", "endDate": end, "vehicles": [vehicle] });
    let day = body("2018-12-01");
    let asked_at = Instant::now();
    while estimate(&stack, &day).await.status != 422 {
        assert!(asked_at.elapsed() < MEASURED, "the vehicle is not measured");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // 1,440 rows, and the estimate is within 25 %.
    let (pointer, detail) = refused(&stack, &day).await;
    assert_eq!(pointer, "/endDate");
    let rows = detail.split_whitespace().find_map(|word| word.parse::<u64>().ok()).expect("a number");
    assert!((1_080..=1_440).contains(&rows) && detail.contains("at most 700;"), "{detail}");
    assert!(detail.contains("into 2 exports") || detail.contains("into 3 exports"), "{detail}");
    // 720 rows are more than allowed, but the estimate is not certain of it.
    let half = body("2018-11-30T12:00:00Z");
    let answer = estimate(&stack, &half).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let rows = answer.json()["rows"].clone();
    assert!(rows["low"].as_u64() <= Some(700) && rows["high"].as_u64() >= Some(700), "{rows}");
    let mut minutes = day.clone();
    minutes["stepMs"] = json!(180_000);
    assert_eq!(estimate(&stack, &minutes).await.status, 200, "480 intervals");
    stack.stop().await;
}

/// A vehicle with 67 points per second: six hours have 1.4 million rows.
#[tokio::test(flavor = "multi_thread")]
async fn c3_a_short_export_of_dense_data_is_bulk() {
    let mut stack = api(10_000_000_000, 1).await;
    let dense = hours(6, 240_000);
    for hour in dense {
        stack.space.insert_hours("1", "soc", vec![hour]).await;
    }
    stack.start_worker().await;
    let vehicle = stack.space.vehicle("1");
    let mut body = json!({
        "startDate": "2018-11-30", "endDate": "2018-11-30T06:00:00Z", "vehicles": [vehicle],
    });
    let asked_at = Instant::now();
    while estimate(&stack, &body).await.json()["priority"] != "bulk" {
        assert!(asked_at.elapsed() < MEASURED, "the vehicle is not measured");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(priority_of(&stack, &body).await, "bulk");
    body["endDate"] = json!("2018-11-30T01:00:00Z");
    assert_eq!(estimate(&stack, &body).await.json()["priority"], "interactive", "240,000 rows");
    stack.stop().await;
}

/// What the catalog does not know yet is asked again: the first answer must not decide about later
/// exports.
#[tokio::test(flavor = "multi_thread")]
async fn c3_an_unknown_number_of_vehicles_is_not_remembered() {
    let mut stack = api(10_000_000_000, 7).await;
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    assert_eq!(estimate(&stack, &body).await.json()["priority"], "bulk", "there is no catalog");
    stack.space.insert_hours("1", "soc", hours(1, 60)).await;
    stack.start_worker().await;
    let listed = [stack.space.vehicle("1")];
    // Asked again and again, so that the last answer before the catalog is there is a recent one.
    let asked_at = Instant::now();
    let asking = async {
        while asked_at.elapsed() < MEASURED {
            let answer = estimate(&stack, &body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    };
    tokio::select! {
        () = stack.until_listed(&listed) => {}
        () = asking => panic!("the catalog does not list the vehicle"),
    }
    tokio::time::sleep(NO_LONGER_UNCERTAIN).await;
    assert_eq!(estimate(&stack, &body).await.json()["priority"], "interactive");
    stack.stop().await;
}
