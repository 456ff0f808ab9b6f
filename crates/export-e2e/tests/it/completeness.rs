//! Job, manifest and command line say what a result lacks: the hours without data, and warnings
//! about exports that are empty or come too early.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use bson::Document;
use export_core::access::{AllowedVehicles, Scope};
use export_e2e::{Answer, Stack};
use export_store::KeyEnd;
use export_testkit::hour::HourBuilder;
use export_testkit::isolation::TestSpace;
use export_testkit::program::{Ended, Program};
use serde_json::{Value, json};
use zip::ZipArchive;

use crate::callers::{Caller, api_with_keys};
use crate::command_line::programs;

/// 2018-11-30T00:00:00Z.
const DAY_MS: i64 = 1_543_536_000_000;
const HOUR_MS: i64 = 3_600_000;

/// A point in each of these hours of the day.
fn hours(of_day: impl IntoIterator<Item = i64>) -> Vec<Document> {
    let hour = |index: i64| {
        let hour_ms = DAY_MS + index * HOUR_MS;
        HourBuilder::new(hour_ms).point(hour_ms + 1_000, 1.5).build()
    };
    of_day.into_iter().map(hour).collect()
}

fn request(fields: &Value) -> Value {
    let mut body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    for (name, value) in fields.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// The codes of a job's warnings, with the vehicle or parameter that they are about.
fn warnings(job: &Value) -> Vec<String> {
    let all = job["warnings"].as_array().unwrap_or_else(|| panic!("no warnings: {job:#}"));
    let about = |warning: &Value| {
        let about = warning["vehicle"].as_str().or(warning["parameter"].as_str()).unwrap_or("all");
        format!("{} {about}", warning["code"].as_str().expect("a code"))
    };
    all.iter().map(about).collect()
}

fn manifest(zip: Vec<u8>) -> Value {
    let mut zip = ZipArchive::new(Cursor::new(zip)).expect("a zip");
    serde_json::from_reader(zip.by_name("manifest.json").expect("a manifest")).expect("JSON")
}

/// Runs `exports` as a client of the stack, or with `run` on its vehicles.
async fn exports(stack: &Stack, arguments: &[&str]) -> Ended {
    let settings = [
        ("EXPORTS_API_URL", stack.api_url.as_str()),
        ("EXPORTS_API_KEY", "not-asked-for"),
        ("SOURCE_MONGODB_URI", &stack.space.services.mongodb_uri),
        ("VEHICLE_DATABASE_PREFIX", &stack.space.vehicle_prefix),
    ];
    let of_run = if arguments[0] == "run" { &settings[2..] } else { &settings[..2] };
    let program = Program::new(&programs().join("exports").to_string_lossy(), arguments, of_run);
    tokio::task::spawn_blocking(move || program.run()).await.expect("it ends")
}

async fn posted(stack: &Stack, body: &Value) -> Value {
    let answer = stack.post(body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()
}

fn id_of(job: &Value) -> String {
    job["_id"].as_str().expect("an id").to_owned()
}

/// Ten hours are missing of one of two vehicles: the job, the manifest, both ways of the command
/// line and a job that shares the result say so, and a required share of hours is an exit code.
#[tokio::test(flavor = "multi_thread")]
async fn missing_hours_are_told_everywhere() {
    let mut stack = Stack::start_api_that_shares(TestSpace::create().await).await;
    stack.provision().await;
    let (full, holed) = (stack.space.vehicle("001"), stack.space.vehicle("003"));
    stack.space.insert_hours("001", "soc", hours(0..24)).await;
    stack.space.insert_hours("003", "soc", hours((0..8).chain(18..24))).await;
    stack.space.insert_hours("003", "odo", hours([3])).await;
    stack.start_worker().await;
    stack.until_catalogued(&[full.clone(), holed.clone()]).await;

    let folder = tempfile::tempdir().expect("a folder");
    let zip = folder.path().join("a.zip").to_string_lossy().into_owned();
    let day = ["--from", "2018-11-30", "--to", "2018-12-01"];
    let line = format!(
        "coverage: 79.1 % of hours have data (worst: {holed} 58.3 %, longest gap 10 h from 2018-11-30T08:00:00Z; \
         worst parameter: odo of {full} 0.0 %)"
    );
    let too_low = format!("{holed} has data in 14 of 24 hours, 58.3 %, and --require-coverage asks for 95 %");
    let create = [&["create", "--download", &zip, "--require-coverage", "95"], &day[..]].concat();
    let ended = exports(&stack, &create).await;
    assert_eq!(ended.code, Some(8), "{}", ended.output);
    assert!(ended.output.contains(&line) && ended.output.contains(&too_low), "{}", ended.output);
    let from_service = std::fs::read(&zip).expect("the file is written all the same");
    let ran = folder.path().join("b.zip").to_string_lossy().into_owned();
    let run = [&["run", "-o", &ran, "--require-coverage", "95"], &day[..]].concat();
    let ended = exports(&stack, &run).await;
    assert_eq!(ended.code, Some(8), "{}", ended.output);
    assert!(ended.output.contains(&line) && ended.output.contains(&too_low), "{}", ended.output);
    assert!(std::fs::read(&ran).expect("the file is written all the same") == from_service, "the same bytes");
    let enough = [&["run", "-o", &ran, "--force", "--require-coverage", "58.3"], &day[..]].concat();
    assert_eq!(exports(&stack, &enough).await.code, Some(0));
    let not_downloaded = exports(&stack, &[&["create", "--require-coverage", "95"], &day[..]].concat()).await;
    assert_eq!(not_downloaded.code, Some(8), "it waits: {}", not_downloaded.output);

    let manifest = manifest(from_service);
    let gap = json!({ "from": "2018-11-30T08:00:00Z", "to": "2018-11-30T18:00:00Z", "hours": 10 });
    let of_holed = &manifest["vehicles"][1]["coverage"];
    assert_eq!(
        (&of_holed["hoursWithData"], &of_holed["percent"], &of_holed["gaps"]),
        (&json!(14), &json!(58.3), &json!([gap]))
    );
    assert_eq!(of_holed["firstTime"], json!(DAY_MS + 1_000));
    assert_eq!(of_holed["parameters"]["odo"]["hoursWithData"], 1);

    // The same request again: a shared result, which has the same coverage.
    let shared = posted(&stack, &request(&json!({}))).await;
    let (shared, _) = stack.ended(&id_of(&shared)).await;
    assert_eq!((&shared["state"], &shared["shared"]), (&json!("FINISHED"), &json!(true)), "{shared:#}");
    let coverage = &shared["stats"]["coverage"];
    assert_eq!((&coverage["hoursAsked"], &coverage["hoursWithData"]), (&json!(48), &json!(38)));
    let worst = &coverage["worstVehicle"];
    assert_eq!((&worst["vehicle"], &worst["longestGap"]), (&json!(holed), &gap));
    assert_eq!(warnings(&shared), Vec::<String>::new());
    let got = exports(&stack, &["get", &id_of(&shared), "--require-coverage", "58.4"]).await;
    assert!(got.code == Some(8) && got.output.contains(&line), "{}", got.output);
    let into = folder.path().to_string_lossy().into_owned();
    let download = ["download", &id_of(&shared), "-o", &into, "--require-coverage", "95"];
    let downloaded = exports(&stack, &download).await;
    assert!(downloaded.code == Some(8) && downloaded.output.contains(&line), "{}", downloaded.output);
    assert!(Path::new(&into).join(format!("{}.zip", id_of(&shared))).exists(), "it is written");
    stack.stop().await;
}

/// Ranges without data: no points at all, after the last data, not over.
#[tokio::test(flavor = "multi_thread")]
async fn empty_and_premature_ranges_warn() {
    let stack = Stack::start().await;
    let (first, second) = (stack.space.vehicle("001"), stack.space.vehicle("002"));
    stack.space.insert_hours("001", "soc", hours([0, 20])).await;
    stack.space.insert_hours("002", "soc", hours([0])).await;
    stack.until_catalogued(&[first, second.clone()]).await;

    // After the last data of all vehicles: a warning at once and, since nothing was found, at the end.
    let after = request(&json!({ "startDate": "2019-01-01", "endDate": "2019-01-02" }));
    let job = posted(&stack, &after).await;
    assert_eq!(warnings(&job), ["after_last_data all"]);
    let message = job["warnings"][0]["message"].as_str().expect("a message");
    assert!(message.contains("after 2018-11-30T21:00:00Z"), "the end of the last hour: {message}");
    let (ended, _) = stack.ended(&id_of(&job)).await;
    assert_eq!(warnings(&ended), ["after_last_data all", "no_points all"]);
    assert_eq!(ended["stats"]["coverage"]["percent"], json!(0.0));
    let found = manifest(stack.download(&id_of(&job)).await);
    assert_eq!(warnings(&found), ["no_points all"], "the catalog does not change the bytes");

    // After the last data of one vehicle.
    let later = request(&json!({ "startDate": "2018-11-30T20:00:00Z", "endDate": "2018-11-30T21:00:00Z" }));
    let job = posted(&stack, &later).await;
    assert_eq!(warnings(&job), [format!("after_last_data {second}")]);
    let (ended, _) = stack.ended(&id_of(&job)).await;
    assert_eq!(warnings(&ended), [format!("after_last_data {second}"), format!("no_points {second}")]);

    // Between the data, where the catalog cannot know.
    let between = request(&json!({ "startDate": "2018-11-30T05:00:00Z", "endDate": "2018-11-30T06:00:00Z",
                                   "vehicles": [stack.space.vehicle("001")] }));
    let job = posted(&stack, &between).await;
    assert_eq!(warnings(&job), Vec::<String>::new());
    assert_eq!(warnings(&stack.ended(&id_of(&job)).await.0), ["no_points all"]);

    // Not over.
    let early = request(&json!({ "startDate": "2018-11-30", "endDate": "2200-01-01", "stepMs": 86_400_000 }));
    let job = posted(&stack, &early).await;
    assert_eq!(warnings(&job), ["range_not_over all"]);
    assert_eq!(warnings(&stack.ended(&id_of(&job)).await.0), ["range_not_over all"]);
    assert_eq!(warnings(&manifest(stack.download(&id_of(&job)).await)), Vec::<String>::new());

    // On the command line, each once.
    let dates = ["--from", "2019-01-01", "--to", "2200-01-01", "--step-ms", "86400000"];
    let ended = exports(&stack, &[&["create", "--wait"], &dates[..]].concat()).await;
    let warnings_in = |output: &str| -> Vec<String> {
        let lines = output.lines().filter_map(|line| line.strip_prefix("warning: "));
        lines.map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
    };
    let of_create = warnings_in(&ended.output);
    assert_eq!((ended.code, of_create.len()), (Some(0), 3), "{}", ended.output);
    assert_eq!(of_create[0], "the range is not over");
    assert!(of_create[1].starts_with("the vehicles have no data after 2018-11-30T21"), "{}", ended.output);
    assert_eq!(of_create[2], "no vehicle has a value in the range");
    let folder = tempfile::tempdir().expect("a folder");
    let zip = folder.path().join("a.zip").to_string_lossy().into_owned();
    let ended = exports(&stack, &[&["run", "-o", &zip], &dates[..]].concat()).await;
    assert_eq!(warnings_in(&ended.output), ["the range is not over", "no vehicle has a value in the range"]);
    stack.stop().await;
}

/// A vehicle that has none of the parameters.
#[tokio::test(flavor = "multi_thread")]
async fn a_vehicle_without_any_parameter_warns() {
    let stack = Stack::start().await;
    let (first, second) = (stack.space.vehicle("001"), stack.space.vehicle("002"));
    stack.space.insert_hours("001", "soc", hours(0..24)).await;
    stack.space.insert_hours("002", "odo", hours(0..24)).await;
    stack.until_catalogued(&[first.clone(), second.clone()]).await;
    let job = posted(&stack, &request(&json!({ "parameters": ["soc"] }))).await;
    assert_eq!(warnings(&job), Vec::<String>::new());
    let (ended, _) = stack.ended(&id_of(&job)).await;
    let expected = [format!("no_parameter_found {second}")];
    assert_eq!(warnings(&ended), expected);
    assert_eq!(warnings(&manifest(stack.download(&id_of(&job)).await)), expected);
    assert_eq!(ended["stats"]["coverage"]["worstVehicle"]["vehicle"], json!(second));

    let folder = tempfile::tempdir().expect("a folder");
    let zip = folder.path().join("a.zip").to_string_lossy().into_owned();
    let run = ["run", "--from", "2018-11-30", "--to", "2018-12-01", "--parameter", "soc", "-o", &zip];
    let ended = exports(&stack, &run).await;
    let warning = format!("warning: {second} has none of the parameters");
    assert!(ended.output.lines().any(|line| line == warning), "{}", ended.output);
    stack.stop().await;
}

/// No worker has built the catalog: the POST says that names are not checked, `vehicles` that its list is not
/// to be trusted, and the finished job names the misspelt parameter.
#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_parameter_warns_although_there_is_no_catalog() {
    let mut stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let vehicle = stack.space.vehicle("001");
    stack.space.insert_hours("001", "soc", hours(0..24)).await;
    let listed = exports(&stack, &["vehicles"]).await;
    let not_yet = "warning: the list of vehicles was not made yet";
    assert!(listed.code == Some(0) && listed.output.contains(not_yet), "{}", listed.output);

    let job = posted(&stack, &request(&json!({ "parameters": ["socc", "soc"] }))).await;
    assert_eq!(warnings(&job), ["catalog_not_ready all"]);
    stack.start_worker().await;
    let (ended, _) = stack.ended(&id_of(&job)).await;
    assert_eq!(warnings(&ended), ["no_parameter_found socc"]);
    let shown = exports(&stack, &["get", &id_of(&job)]).await;
    assert!(shown.output.contains("warning: no vehicle has the parameter socc"), "{}", shown.output);

    stack.until_catalogued(std::slice::from_ref(&vehicle)).await;
    let listed = exports(&stack, &["vehicles"]).await;
    assert!(listed.output.contains(&vehicle) && !listed.output.contains("warning:"), "{}", listed.output);
    assert!(
        listed.output.lines().any(|line| line.starts_with("list of vehicles as of ")),
        "{}",
        listed.output
    );
    let catalog = stack.get("/vehicles").await.json()["catalog"].clone();
    assert!(catalog["updatedAt"].is_string() && catalog["ageSeconds"].is_u64(), "{catalog:#}");
    assert_eq!(catalog["ready"], json!(true));
    stack.stop().await;
}

/// No vehicle has a name within the patterns of the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_vehicles_warns() {
    let mut stack = api_with_keys(Duration::ZERO).await;
    stack.space.insert_hours("001", "soc", hours(0..24)).await;
    stack.start_worker().await;
    stack.until_catalogued(&[stack.space.vehicle("001")]).await;
    let none = AllowedVehicles::Like(vec!["nothing_*".parse().expect("a pattern")]);
    let key = stack.key("acme", &[Scope::Read, Scope::Write], none, KeyEnd::Never).await;
    let caller = Caller { stack: &stack, key };
    let accepted: Answer = caller.send("POST", "/export", &[], Some(&request(&json!({})))).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let job = accepted.json();
    assert_eq!(warnings(&job), ["no_vehicle_allowed all"]);
    let job = caller.until_state(&id_of(&job), "FINISHED").await;
    assert_eq!(warnings(&job), ["no_vehicle_allowed all"]);
    let coverage = &job["stats"]["coverage"];
    assert_eq!((&coverage["hoursAsked"], &coverage["worstVehicle"]), (&json!(0), &Value::Null));
    stack.stop().await;
}
