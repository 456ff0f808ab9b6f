//! The output options of a request: packing, format, times, resampling. Each result equals the
//! reference, through the links that a client gets.

use export_e2e::Stack;
use export_testkit::isolation::TestSpace;
use export_testkit::oddities::{OddFleet, one_day};
use export_testkit::proxy::Proxy;
use export_testkit::reference::{
    ColumnType, ReferenceArchive, ReferenceCompression, ReferenceExport, ReferenceFormat, ReferenceOptions,
    ReferenceRequest, ReferenceTimeFormat, ReferenceVehicle, export_database,
};
use export_testkit::verify::compare_objects;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::exact::exported_like_the_reference;

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;

/// A service with the odd fleet in its databases.
async fn stack_with_odd_fleet() -> (Stack, OddFleet) {
    let stack = Stack::start().await;
    let fleet = one_day();
    stack.space.insert_fleet(&fleet).await;
    (stack, fleet)
}

/// The day of a fleet with these options, as a client requests it.
fn body(fleet: &OddFleet, options: &Value) -> Value {
    let mut body = json!({ "startDate": fleet.start_date, "endDate": fleet.end_date });
    for (name, value) in options.as_object().expect("options") {
        body[name] = value.clone();
    }
    body
}

fn reference_request(fleet: &OddFleet, options: ReferenceOptions) -> ReferenceRequest {
    ReferenceRequest { from_ms: fleet.from_ms, to_ms: fleet.to_ms, options, ..ReferenceRequest::default() }
}

/// Prefix of the keys of all objects of a job, over all attempts.
fn job_prefix(job: &Value) -> String {
    format!("exports/default/{}/", job["_id"].as_str().expect("an id"))
}

/// Keys of all objects that any attempt of a job has left.
async fn keys_of_job(stack: &Stack, job: &Value) -> Vec<String> {
    let prefix = job_prefix(job);
    stack.space.object_keys().await.into_iter().filter(|key| key.starts_with(&prefix)).collect()
}

/// The objects of a finished job by their links. Checks that the links agree with the stored
/// objects, and that there are no others.
async fn linked_objects(stack: &Stack, job: &Value) -> Vec<(String, Vec<u8>)> {
    let job_id = job["_id"].as_str().expect("an id");
    assert!(job["downloadUrl"].is_null(), "{job:#}");
    let listed = stack.get(&format!("/export/{job_id}/download")).await.json();
    let names = |objects: &Value| -> Vec<(String, u64)> {
        let objects = objects.as_array().expect("a list").iter();
        let listed =
            objects.map(|object| (object["name"].as_str().map(str::to_owned), object["bytes"].as_u64()));
        listed.map(|(name, bytes)| (name.expect("a name"), bytes.expect("a size"))).collect()
    };
    assert_eq!(names(&listed["objects"]), names(&job["objects"]));

    let prefix = job["exportUri"].as_str().expect("a URI");
    let prefix = prefix.strip_prefix(&format!("s3://{}/", stack.space.bucket)).expect("of this bucket");
    assert!(prefix.starts_with(&job_prefix(job)) && prefix.ends_with('/'), "{prefix}");
    let mut keys: Vec<String> =
        names(&job["objects"]).into_iter().map(|(name, _)| format!("{prefix}{name}")).collect();
    keys.sort();
    assert_eq!(keys_of_job(stack, job).await, keys, "nothing else is left of this job");

    let mut objects = Vec::new();
    for (object, (name, bytes)) in
        job["objects"].as_array().expect("a list").iter().zip(names(&job["objects"]))
    {
        let content = stack.fetch(object["downloadUrl"].as_str().expect("a link")).await;
        assert_eq!(content.len() as u64, bytes, "{name}");
        assert!(content == stack.download_object(job_id, &name).await, "{name} differs by its two links");
        objects.push((name, content));
    }
    objects
}

/// The numbers of a job are those of its objects and of the reference.
fn assert_numbers(job: &Value, objects: &[(String, Vec<u8>)], expected: &ReferenceExport) {
    let sum = |of: fn(&ReferenceVehicle) -> u64| expected.vehicles.iter().map(of).sum::<u64>();
    let stored_bytes: usize = objects.iter().map(|(_, content)| content.len()).sum();
    let (manifest_name, manifest) = objects.last().expect("objects");
    assert_eq!(manifest_name, "manifest.json");
    let sha256 =
        Sha256::digest(manifest).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let is_csv = expected.vehicles.iter().all(|vehicle| vehicle.table.is_none());
    // A parquet file is compressed internally and served unchanged.
    let file_bytes =
        if is_csv { sum(|vehicle| vehicle.csv.len() as u64) } else { (stored_bytes - manifest.len()) as u64 };
    let stats = &job["stats"];
    for (field, value) in [
        ("rows", json!(sum(|vehicle| vehicle.rows))),
        ("points", json!(sum(|vehicle| vehicle.points_read))),
        (
            "rejected",
            json!(sum(|vehicle| vehicle.rejected_point_count() + vehicle.rejected_document_count())),
        ),
        ("csvBytes", json!(file_bytes)),
        ("bytes", json!(stored_bytes)),
        ("sha256", json!(sha256)),
    ] {
        assert_eq!(stats[field], value, "{field} in {job:#}");
    }
    let progress = &job["progress"];
    for (field, value) in [
        ("percent", json!(100.0)),
        ("vehiclesDone", json!(expected.vehicles.len())),
        ("vehiclesTotal", json!(expected.vehicles.len())),
        ("rows", stats["rows"].clone()),
        ("points", stats["points"].clone()),
        ("bytes", stats["bytes"].clone()),
    ] {
        assert_eq!(progress[field], value, "progress, {field} in {job:#}");
    }
    let names: Vec<&str> = objects.iter().map(|(name, _)| name.as_str()).collect();
    let files = expected.vehicles.iter().map(|vehicle| vehicle.file_name.as_str());
    assert_eq!(names, files.chain(["manifest.json"]).collect::<Vec<_>>(), "in the order they were written");
}

/// Exports a request without archive, fetches every object and compares all with the reference
/// export of the same databases.
async fn objects_like_the_reference(
    stack: &Stack,
    body: &Value,
    request: &ReferenceRequest,
) -> ReferenceExport {
    let job_id = stack.accepted(body).await;
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!((&job["state"], &job["attempts"]), (&json!("FINISHED"), &json!(1)), "{job:#}");
    let objects = linked_objects(stack, &job).await;
    let expected = export_database(&stack.space.mongodb, &stack.space.vehicle_prefix, request).await;
    let expected = expected.expect("the reference export");
    if let Err(differences) = compare_objects(&objects, request, &expected) {
        panic!("the objects are not the reference's: {differences}");
    }
    assert_numbers(&job, &objects, &expected);
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_per_vehicle_compressed_as_asked() {
    let (stack, fleet) = stack_with_odd_fleet().await;
    for (name, compression) in [
        ("gzip", ReferenceCompression::Gzip),
        ("zstd", ReferenceCompression::Zstd),
        ("none", ReferenceCompression::None),
    ] {
        let options =
            ReferenceOptions { archive: ReferenceArchive::None, compression, ..ReferenceOptions::default() };
        let body = body(&fleet, &json!({ "archive": "none", "compression": name }));
        objects_like_the_reference(&stack, &body, &reference_request(&fleet, options)).await;
    }
    stack.stop().await;
}

/// A parameter of this fleet is text in one of the last vehicles. That is noticed when other
/// vehicles' files are stored already: the export begins again, and none of the files with doubles
/// is left.
#[tokio::test(flavor = "multi_thread")]
async fn parquet_files_where_numbers_turn_out_to_be_text() {
    let (stack, fleet) = stack_with_odd_fleet().await;
    let options = ReferenceOptions {
        format: ReferenceFormat::Parquet,
        archive: ReferenceArchive::None,
        ..ReferenceOptions::default()
    };
    let body = body(&fleet, &json!({ "archive": "none", "format": "parquet" }));
    let expected = objects_like_the_reference(&stack, &body, &reference_request(&fleet, options)).await;
    let [soc, others @ ..] = &expected.types[..] else { panic!("columns") };
    assert_eq!(*soc, ColumnType::Utf8);
    assert!(others.contains(&ColumnType::Double), "{others:?}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_files_in_a_zip() {
    let (stack, fleet) = stack_with_odd_fleet().await;
    let options = ReferenceOptions { format: ReferenceFormat::Parquet, ..ReferenceOptions::default() };
    let body = body(&fleet, &json!({ "format": "parquet" }));
    exported_like_the_reference(&stack, &body, &reference_request(&fleet, options)).await;
    stack.stop().await;
}

/// The zone determines the limits of days, and how times are written.
#[tokio::test(flavor = "multi_thread")]
async fn local_times_of_local_days() {
    let (stack, fleet) = stack_with_odd_fleet().await;
    let options = ReferenceOptions {
        time_format: ReferenceTimeFormat::Rfc3339,
        timezone: "Europe/Amsterdam".to_owned(),
        ..ReferenceOptions::default()
    };
    let mut request = reference_request(&fleet, options);
    // Winter: an hour ahead of UTC.
    request.from_ms -= HOUR_MS;
    request.to_ms -= HOUR_MS;
    let body = body(&fleet, &json!({ "timeFormat": "rfc3339", "timezone": "Europe/Amsterdam" }));
    let job = exported_like_the_reference(&stack, &body, &request).await;
    let text = "from 2018-11-30T00:00:00+01:00 up to, not including, 2018-12-01T00:00:00+01:00, 24 h";
    let range = json!({ "from": "2018-11-29T23:00:00Z", "to": "2018-11-30T23:00:00Z", "text": text });
    assert_eq!(job["range"], range);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_row_per_minute_with_the_last_value_known() {
    let (stack, fleet) = stack_with_odd_fleet().await;
    let options =
        ReferenceOptions { step_ms: Some(MINUTE_MS), fill_previous: true, ..ReferenceOptions::default() };
    let asked = json!({ "stepMs": MINUTE_MS, "fill": "previous" });
    let job = exported_like_the_reference(
        &stack,
        &body(&fleet, &asked),
        &reference_request(&fleet, options.clone()),
    )
    .await;
    assert!(job["stats"]["rows"].as_u64().is_some_and(|rows| rows > 5_000), "{job:#}");

    let options = ReferenceOptions {
        format: ReferenceFormat::Parquet,
        archive: ReferenceArchive::None,
        fill_previous: false,
        ..options
    };
    let asked = json!({ "stepMs": MINUTE_MS, "format": "parquet", "archive": "none" });
    objects_like_the_reference(&stack, &body(&fleet, &asked), &reference_request(&fleet, options)).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_as_they_are() {
    let (stack, fleet) = stack_with_odd_fleet().await;
    let options = ReferenceOptions { guard: false, ..ReferenceOptions::default() };
    let body = body(&fleet, &json!({ "csvGuard": "off" }));
    exported_like_the_reference(&stack, &body, &reference_request(&fleet, options)).await;
    stack.stop().await;
}

/// S3 accepts a few objects and then no more: the attempt fails and removes its stored objects. The
/// final objects are those of the successful attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_attempt_leaves_no_object() {
    const STORED_OBJECTS: usize = 5;
    let mut stack = Stack::start_api_with(TestSpace::create().await, 1_000).await;
    stack.provision().await;
    let fleet = one_day();
    stack.space.insert_fleet(&fleet).await;
    let target = stack.space.services.s3_endpoint_url.trim_start_matches("http://").trim_end_matches('/');
    let proxy = Proxy::start(target.to_owned()).await;
    stack.s3_endpoint_of_workers = Some(format!("http://{}", proxy.address()));
    proxy.refuse_after(STORED_OBJECTS, "PUT /");
    stack.start_worker().await;

    let body = body(&fleet, &json!({ "archive": "none", "compression": "zstd" }));
    let job_id = stack.accepted(&body).await;
    let (failing, _) = stack.until(&job_id, |job| !job["error"].is_null()).await;
    assert_eq!(failing["error"]["code"], "result_storage_unavailable", "{failing:#}");
    assert!(failing["exportUri"].is_null() && failing["objects"].is_null(), "{failing:#}");
    assert_eq!(keys_of_job(&stack, &failing).await, [""; 0], "what was stored is taken back");

    proxy.restore();
    let (job, _) = stack.ended(&job_id).await;
    assert_eq!(job["state"], "FINISHED", "{job:#}");
    assert_eq!(job["attempts"], 1, "an outage uses no attempt: {job:#}");
    let uri = job["exportUri"].as_str().expect("a URI");
    assert!(uri.contains(&format!("/{job_id}/1-")), "{uri}");
    let objects = linked_objects(&stack, &job).await;
    let options = ReferenceOptions {
        archive: ReferenceArchive::None,
        compression: ReferenceCompression::Zstd,
        ..ReferenceOptions::default()
    };
    let request = reference_request(&fleet, options);
    let expected = export_database(&stack.space.mongodb, &stack.space.vehicle_prefix, &request).await;
    let expected = expected.expect("the reference export");
    if let Err(differences) = compare_objects(&objects, &request, &expected) {
        panic!("the objects are not the reference's: {differences}");
    }
    assert_numbers(&job, &objects, &expected);
    stack.stop().await;
}
