//! The engine on databases with every oddity that a server can store: equal to the reference,
//! however small the read-ahead.

use std::io::{self, Cursor};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};

use bson::RawDocumentBuf;
use export_core::TimeRange;
use export_core::request::ExportRequest;
use export_core::sink::Sink;
use export_engine::{
    Engine, ExportTask, Limits, Meter, Plan, PlanError, ResultLimits, SliceSize, StopFlag, plan,
};
use export_source::{MongoClient, MongoSource, VehicleDatabases, connect};
use export_testkit::generated::{Case, case};
use export_testkit::isolation::TestSpace;
use export_testkit::reference::{
    ReferenceArchive, ReferenceRequest, SourceVehicle, StoredDocument, export_documents,
};
use export_testkit::verify;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// Each case creates and drops its own databases, so there are fewer cases than without a server.
const CASES: u32 = 500;
/// From too little for a single document, so that every batch is read only when it is needed, to
/// more than all data.
const READ_AHEAD_BYTES: [usize; 4] = [1, 4 << 10, 200 << 10, 8 << 20];

/// How a case is exported.
#[derive(Clone, Copy, Debug)]
struct Manner {
    read_ahead_bytes: usize,
    slice_bytes: usize,
    threads: usize,
}

fn manner() -> impl Strategy<Value = Manner> {
    let read_ahead_bytes = proptest::sample::select(&READ_AHEAD_BYTES[..]);
    let slice_bytes = prop_oneof![Just(1), Just(700), Just(1 << 20)];
    (read_ahead_bytes, slice_bytes, 1..=3_usize).prop_map(|(read_ahead_bytes, slice_bytes, threads)| Manner {
        read_ahead_bytes,
        slice_bytes,
        threads,
    })
}

#[test]
fn odd_databases_give_what_the_reference_gives() {
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::create());
    let engines: Vec<Engine> = (1..=3).map(|threads| Engine::new(count(threads)).expect("threads")).collect();
    let config = ProptestConfig { cases: CASES, source_file: Some(file!()), ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&(case(), manner()), |(case, manner)| {
        let stored = runtime.block_on(server.store(case));
        let differences = exported_differences(&runtime, &server, &stored, manner, &engines);
        runtime.block_on(server.remove(&stored));
        prop_assert_eq!(differences, "");
        Ok(())
    });
    runtime.block_on(server.space.cleanup());
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// A real database server, the number of cases so far, and the databases that are being dropped.
struct Server {
    space: TestSpace,
    client: MongoClient,
    number: AtomicU32,
    dropping: Mutex<JoinSet<mongodb::error::Result<()>>>,
}

/// A case in its own databases.
struct Stored {
    prefix: String,
    request: ReferenceRequest,
    /// Vehicles with a database: a vehicle without collections has none.
    vehicles: Vec<SourceVehicle>,
}

impl Server {
    async fn create() -> Self {
        let space = TestSpace::create().await;
        let client = connect(&space.services.mongodb_uri.clone().into(), "odd databases").await;
        Self {
            client: client.expect("a client"),
            space,
            number: AtomicU32::new(0),
            dropping: Mutex::default(),
        }
    }

    async fn store(&self, mut case: Case) -> Stored {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{}{number}_", self.space.vehicle_prefix);
        let rename = |name: &mut String| name.insert_str(0, &prefix);
        case.request.vehicles.iter_mut().flatten().for_each(rename);
        case.vehicles.iter_mut().for_each(|vehicle| rename(&mut vehicle.database));
        case.vehicles.retain(|vehicle| !vehicle.collections.is_empty());
        let mut filling = JoinSet::new();
        for vehicle in &case.vehicles {
            let database = self.space.mongodb.database(&vehicle.database);
            for (name, hours) in &vehicle.collections {
                let (database, name) = (database.clone(), name.clone());
                let hours: Vec<RawDocumentBuf> = hours.iter().map(document).collect();
                filling.spawn(async move {
                    if hours.is_empty() {
                        database.create_collection(name).await
                    } else {
                        database.collection::<bson::RawDocumentBuf>(&name).insert_many(hours).await.map(drop)
                    }
                });
            }
        }
        filling.join_all().await.into_iter().collect::<Result<(), _>>().expect("stored");
        Stored { prefix, request: case.request, vehicles: case.vehicles }
    }

    /// Drops the databases during the next case. The databases of the previous case are gone then.
    async fn remove(&self, stored: &Stored) {
        let mut dropping = JoinSet::new();
        for vehicle in &stored.vehicles {
            let database = self.space.mongodb.database(&vehicle.database);
            dropping.spawn(async move { database.drop().await });
        }
        let before = std::mem::replace(&mut *self.dropping.lock().await, dropping);
        before.join_all().await.into_iter().collect::<Result<(), _>>().expect("dropped");
    }
}

fn document(stored: &StoredDocument) -> RawDocumentBuf {
    RawDocumentBuf::from_bytes(stored.bytes()).expect("a document")
}

/// All differences as text; empty when there are none.
fn exported_differences(
    runtime: &Runtime,
    server: &Server,
    stored: &Stored,
    manner: Manner,
    engines: &[Engine],
) -> String {
    let databases = VehicleDatabases::new(&server.client, &stored.prefix);
    let source = MongoSource::new(databases, runtime.handle().clone(), manner.read_ahead_bytes);
    let mut request = stored.request.clone();
    let plan = match plan(&export_request(&request), &source) {
        Ok(plan) => plan,
        Err(PlanError::UnknownVehicles(unknown)) => {
            // An unknown vehicle gives no empty file; the others are exported nevertheless.
            let asked = request.vehicles.as_mut().expect("only vehicles that were asked for can be unknown");
            let is_stored = |name: &String| stored.vehicles.iter().any(|vehicle| vehicle.database == *name);
            let (known, missing): (Vec<String>, Vec<String>) = asked.drain(..).partition(is_stored);
            assert_eq!(unknown.iter().map(ToString::to_string).collect::<Vec<_>>(), missing);
            if known.is_empty() {
                return String::new();
            }
            *asked = known;
            plan(&export_request(&request), &source).expect("a plan")
        }
        Err(error) => panic!("no plan: {error}"),
    };
    let objects = export(&plan, &source, manner, engines);
    let expected = export_documents(&request, &stored.vehicles);
    let compared = match request.options.archive {
        ReferenceArchive::Zip => verify::compare(Cursor::new(&objects[0].1), &request, &expected),
        ReferenceArchive::None => verify::compare_objects(&objects, &request, &expected),
    };
    compared.err().map_or_else(String::new, |all| all.to_string())
}

fn export(plan: &Plan, source: &MongoSource, manner: Manner, engines: &[Engine]) -> Vec<(String, Vec<u8>)> {
    let slice = SliceSize { target_bytes: manner.slice_bytes, most_bytes: manner.slice_bytes };
    let result = ResultLimits::default();
    let limits = Limits { slice, slices_share_bytes: 4 << 20, hour_bytes: 64 << 20, result };
    let (meter, stop) = (Meter::default(), StopFlag::default());
    let task = ExportTask { plan, source, limits, meter: &meter, stop: &stop };
    let exported = engines[manner.threads - 1].export(&task, &mut || Ok(Objects::default()));
    exported.unwrap_or_else(|error| panic!("no export: {error:?}")).sink.0
}

/// The written objects.
#[derive(Default)]
struct Objects(Vec<(String, Vec<u8>)>);

impl Sink for Objects {
    fn begin(&mut self, name: &str) -> io::Result<()> {
        self.0.push((name.to_owned(), Vec::new()));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.last_mut().expect("an object was begun").1.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same request in the service's own types.
fn export_request(request: &ReferenceRequest) -> ExportRequest {
    let vehicles = |names: &Vec<String>| names.iter().map(|name| name.parse().expect("a vehicle")).collect();
    let parameters =
        |names: &Vec<String>| names.iter().map(|name| name.parse().expect("a parameter")).collect();
    ExportRequest {
        start_date: "start".to_owned(),
        end_date: "end".to_owned(),
        timezone: request.options.timezone.parse().expect("a zone"),
        range: TimeRange::new(request.from_ms, request.to_ms).expect("a range"),
        vehicles: request.vehicles.as_ref().map(vehicles),
        parameters: request.parameters.as_ref().map(parameters),
        output: serde_json::from_value(request.options.fields().into()).expect("options"),
        webhook_url: None,
        fresh: false,
        label: None,
        retry_of: None,
    }
}

fn count(threads: usize) -> NonZeroUsize {
    NonZeroUsize::new(threads).expect("some")
}
