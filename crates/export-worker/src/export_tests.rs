//! The plan of a job, a stopped upload, and the disposition of each error of the recipe.

use std::num::NonZeroU64;

use export_core::access::AllowedVehicles;
use export_core::output::Fill;
use export_core::sink::Sink as _;
use export_core::source::{HourDocuments, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use export_engine::ParquetTooLarge;
use export_s3::S3Server;
use export_settings::from_flags;
use serde_json::json;

use super::*;
use crate::disposition::Disposition;
use crate::testing::TestFleet;

/// Two vehicles with one parameter each, or a database that is down.
#[derive(Debug)]
struct TestSource {
    is_down: bool,
}

impl Source for TestSource {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        if self.is_down {
            return Err(SourceError::new("connection refused"));
        }
        Ok(["vehicle_001", "vehicle_002"].map(|name| name.parse().expect("a vehicle")).to_vec())
    }

    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        Ok(vehicles.iter().map(|_| vec!["soc".parse().expect("a parameter")]).collect())
    }

    fn open<'a>(
        &'a self,
        _: &VehicleId,
        _: &Parameter,
        _: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        Err(SourceError::new("a plan reads no documents"))
    }
}

fn size(max_columns: usize) -> ExportSize {
    ExportSize { max_columns, result: ResultLimits { max_rows: 172_800, ..ResultLimits::default() } }
}

async fn planned(job: &Job, is_down: bool) -> Result<Vec<String>, JobError> {
    let source = AllowedSource::new(TestSource { is_down }, job.allowed_vehicles.clone());
    let plan = plan(&job.request, &Arc::new(source), size(1)).await?;
    Ok(plan.vehicles.iter().map(|vehicle| vehicle.vehicle.to_string()).collect())
}

fn job_for(vehicle: Option<&str>) -> Job {
    let mut request = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
    if let Some(vehicle) = vehicle {
        request["vehicles"] = json!([vehicle]);
    }
    let request = ExportRequest::parse(&request).expect("a request");
    Job { request, ..TestFleet::start().new_job(None) }
}

#[tokio::test]
async fn all_vehicles_are_the_allowed_ones() {
    let mut job = job_for(None);
    assert_eq!(planned(&job, false).await.expect("a plan"), ["vehicle_001", "vehicle_002"]);
    let pattern = "vehicle_002".parse().expect("a pattern");
    job.allowed_vehicles = AllowedVehicles::Like(vec![pattern]);
    assert_eq!(planned(&job, false).await.expect("a plan"), ["vehicle_002"]);
}

#[tokio::test]
async fn a_vehicle_that_is_unknown_or_not_allowed_is_a_permanent_error() {
    let mut job = job_for(Some("vehicle_003"));
    let unknown = planned(&job, false).await.expect_err("no such vehicle");
    job = job_for(Some("vehicle_001"));
    job.allowed_vehicles = AllowedVehicles::Like(Vec::new());
    let denied = planned(&job, false).await.expect_err("it is not allowed");
    for error in [unknown, denied] {
        assert_eq!((error.disposition(), &*error.failure().code), (Disposition::Fail, "unknown_vehicle"));
    }
}

#[tokio::test]
async fn c6_more_columns_than_allowed_are_a_permanent_error() {
    let source = || {
        let source = TestSource { is_down: false };
        Arc::new(AllowedSource::new(source, AllowedVehicles::All))
    };
    let request = job_for(None).request;
    assert_eq!(plan(&request, &source(), size(1)).await.expect("a plan").parameters.len(), 1);
    let error = plan(&request, &source(), size(0)).await.expect_err("no column is allowed");
    assert_eq!((error.disposition(), &*error.failure().code), (Disposition::Fail, "too_many_columns"));
    assert!(error.failure().message.contains("would have 1 parameters"), "{}", error.failure().message);
}

#[tokio::test]
async fn c3_more_filled_rows_than_allowed_are_a_permanent_error() {
    let mut job = job_for(None);
    job.request.output.fill = Some(Fill::Previous);
    job.request.output.step_ms = NonZeroU64::new(1_000);
    assert_eq!(planned(&job, false).await.expect("two vehicles with a row per second").len(), 2);
    job.request.output.step_ms = NonZeroU64::new(999);
    let error = planned(&job, false).await.expect_err("more rows");
    assert_eq!((error.disposition(), &*error.failure().code), (Disposition::Fail, "result_too_large"));
    let message = &error.failure().message;
    assert!(message.contains("up to 172974 rows") && message.contains("at most 172800"), "{message}");
}

#[tokio::test]
async fn a_source_that_is_down_is_retryable() {
    let error = planned(&job_for(None), true).await.expect_err("the source is down");
    assert_eq!((error.disposition(), &*error.failure().code), (Disposition::Retry, "source_unavailable"));
    assert!(error.to_string().contains("connection refused") && !error.failure().message.contains("refused"));
}

#[test]
fn each_error_of_the_engine_has_a_disposition() {
    let io = || std::io::Error::other("broken");
    let vehicle = "vehicle_001".parse().expect("a vehicle");
    let hour_too_large = EngineError::HourTooLarge { vehicle, hour_ms: 0, most_bytes: 24 << 20 };
    let too_large = ParquetTooLarge { columns: 41, max_groups: 100 };
    // As an error of the sink, as the encoder returns it.
    let parquet_too_large = EngineError::from(std::io::Error::other(too_large));
    let cases = [
        (EngineError::Source(SourceError::new("down")), Disposition::Retry, "source_unavailable"),
        (EngineError::Sink(io()), Disposition::Retry, "result_storage_unavailable"),
        (EngineError::Unordered("2 before 1".to_owned()), Disposition::Fail, "source_unordered"),
        (EngineError::NotReconciled(Box::default()), Disposition::Fail, "not_reconciled"),
        (hour_too_large, Disposition::Fail, "hour_too_large"),
        (parquet_too_large, Disposition::Fail, "parquet_too_large"),
        (
            EngineError::ResultTooLarge(ResultTooLarge::Rows { max_rows: 7 }),
            Disposition::Fail,
            "result_too_large",
        ),
        (
            EngineError::SourceChanged {
                passes: 3,
                parameters: ["soc".parse().expect("a parameter")].into(),
            },
            Disposition::Retry,
            "source_changed",
        ),
        (EngineError::Stopped, Disposition::HandOver, "worker_stopped"),
    ];
    for (error, disposition, code) in cases {
        let error = engine_error(error);
        assert_eq!((error.disposition(), &*error.failure().code), (disposition, code));
    }
    let error = upload_failed(S3Error::Unfinished);
    assert_eq!(error.disposition(), Disposition::Retry);
}

#[test]
fn c3_a_result_that_is_too_large_is_permanent_and_names_the_setting() {
    let too_large = [ResultTooLarge::Rows { max_rows: 1_234 }, ResultTooLarge::Bytes { max_bytes: 1_234 }];
    for (limit, setting) in too_large.into_iter().zip(["MAX_RESULT_ROWS", "MAX_RESULT_BYTES"]) {
        let error = engine_error(limit.into());
        assert_eq!((error.disposition(), &*error.failure().code), (Disposition::Fail, "result_too_large"));
        let message = &error.failure().message;
        assert!(message.contains("1234") && message.contains(setting), "{message}");
    }
    // More parts than S3 allows.
    let error = upload_failed(S3Error::TooLarge { bytes: 1 << 40 });
    assert_eq!((error.disposition(), &*error.failure().code), (Disposition::Fail, "result_too_large"));
    assert!(error.failure().message.contains("MEMORY_BUDGET_MB"), "{}", error.failure().message);
}

#[tokio::test]
async fn a_pass_that_opens_after_the_stop_uploads_nothing() {
    let server = S3Server {
        endpoint_url: "http://127.0.0.1:1".to_owned(),
        access_key_id: "id".to_owned(),
        secret_access_key: "key".to_owned().into(),
    };
    let settings = from_flags(&["--s3-bucket=results"]).expect("settings");
    let bucket = ResultBucket::at(&server, settings).await.expect("a client");
    let (job, stop) = (TestFleet::start().new_job(None), CancellationToken::new());
    let mut sinks = ResultSinks::new(bucket, &job, 16 << 20, Handle::current(), &stop);
    let passes = spawn_blocking(move || {
        let mut first = sinks.open().expect("a sink");
        first.begin("export.zip").expect("an object");
        first.write(b"content").expect("a part in memory");
        sinks.discard(first);
        stop.cancel();
        let mut second = sinks.open().expect("a sink");
        second.begin("export.zip").expect("an object");
        assert!(second.write(b"content").is_err(), "the export was stopped");
        sinks.discard(second);
        assert!(sinks.failure.is_none(), "S3 was not asked");
    });
    passes.await.expect("no panic");
}
