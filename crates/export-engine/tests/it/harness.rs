//! The harness of all tests here: a source and sinks in memory, the plan of a request on that
//! source, and runs of the engine.
//!
//! It is not in the test kit, which must not depend on the project's crates: its reference exporter
//! is an independent opinion.

use std::io;
use std::num::NonZeroUsize;
use std::sync::LazyLock;

use bson::{RawBsonRef, RawDocument};
use bytes::Bytes;
use export_core::request::ExportRequest;
use export_core::sink::{Sink, SinkFactory};
use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use export_engine::{
    Engine, EngineError, ExportTask, Exported, Limits, Meter, Plan, ResultLimits, SliceSize, StopFlag,
    VehiclePlan,
};
use export_testkit::oddities::OddVehicle;
use export_testkit::reference::{ReferenceExport, ReferenceRequest, SourceVehicle};
use proptest::prelude::ProptestConfig;

/// This many cases of a property, or as many as `PROPTEST_CASES` says.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig::with_cases(asked.unwrap_or(usual))
}

/// Answers like a database: documents whose numeric `_id` lies in the range, ascending.
pub(crate) struct InMemory<'a>(pub(crate) &'a [SourceVehicle]);

impl Source for InMemory<'_> {
    fn vehicles(&self) -> Result<Vec<VehicleId>, SourceError> {
        let mut vehicles: Vec<VehicleId> =
            self.0.iter().map(|stored| stored.database.parse().expect("a vehicle")).collect();
        vehicles.sort();
        Ok(vehicles)
    }

    fn parameters(&self, vehicles: &[VehicleId]) -> Result<Vec<Vec<Parameter>>, SourceError> {
        let collections = |vehicle: &VehicleId| {
            let stored = self.0.iter().find(|stored| stored.database == vehicle.as_str());
            let names = stored.expect("a known vehicle").collections.keys();
            names.map(|name| name.parse().expect("a parameter")).collect()
        };
        Ok(vehicles.iter().map(collections).collect())
    }

    fn open<'a>(
        &'a self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        documents: TimeRange,
    ) -> Result<Box<dyn HourDocuments + 'a>, SourceError> {
        Ok(Box::new(List(self.raw_documents(vehicle, parameter, documents).into_iter())))
    }
}

impl InMemory<'_> {
    /// All documents that [`Source::open`] gives.
    #[expect(clippy::cast_precision_loss, reason = "times in tests are far below 2^53 ms")]
    pub(crate) fn raw_documents(
        &self,
        vehicle: &VehicleId,
        parameter: &Parameter,
        documents: TimeRange,
    ) -> Vec<Vec<u8>> {
        let vehicle =
            self.0.iter().find(|stored| stored.database == vehicle.as_str()).expect("a known vehicle");
        let stored =
            vehicle.collections.get(parameter.as_str()).expect("opened only where there is a collection");
        let ids = documents.from_ms() as f64..documents.to_ms() as f64;
        let mut found: Vec<(f64, Vec<u8>)> = stored
            .iter()
            .map(|document| (id(&document.bytes()), document.bytes()))
            .filter(|(id, _)| ids.contains(id))
            .collect();
        found.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        found.into_iter().map(|(_, document)| document).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "ids in tests are far below 2^53 ms")]
fn id(document: &[u8]) -> f64 {
    let document = RawDocument::from_bytes(document).expect("a document");
    match document.get("_id").expect("an id") {
        Some(RawBsonRef::Double(id)) => id,
        Some(RawBsonRef::Int32(id)) => f64::from(id),
        Some(RawBsonRef::Int64(id)) => id as f64,
        Some(RawBsonRef::Decimal128(id)) => id.to_string().parse().expect("a plain decimal"),
        other => panic!("databases in tests have numeric ids only: {other:?}"),
    }
}

/// Documents one by one.
pub(crate) struct List(pub(crate) std::vec::IntoIter<Vec<u8>>);

impl HourDocuments for List {
    fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        Ok(self.0.next().map(Bytes::from))
    }
}

/// The plan that a worker would make for this request, with the columns and vehicles that the
/// reference exporter has found.
pub(crate) fn plan(
    request: &ReferenceRequest,
    expected: &ReferenceExport,
    vehicles: &[SourceVehicle],
) -> Plan {
    let stored = |database: &str| vehicles.iter().find(|vehicle| vehicle.database == database);
    let has_collections = |database: &str| -> Vec<bool> {
        let has =
            |name: &String| stored(database).is_some_and(|vehicle| vehicle.collections.contains_key(name));
        expected.parameters.iter().map(has).collect()
    };
    Plan {
        request: ExportRequest {
            start_date: "start".to_owned(),
            end_date: "end".to_owned(),
            timezone: request.options.timezone.parse().expect("a zone"),
            output: serde_json::from_value(request.options.fields().into()).expect("options"),
            range: TimeRange::new(request.from_ms, request.to_ms).expect("a range"),
            vehicles: None,
            parameters: None,
            webhook_url: None,
            fresh: false,
            label: None,
            retry_of: None,
        },
        parameters: expected.parameters.iter().map(|name| name.parse().expect("a parameter")).collect(),
        vehicles: expected
            .vehicles
            .iter()
            .map(|vehicle| VehiclePlan {
                vehicle: vehicle.database.parse().expect("a vehicle"),
                has_collection: has_collections(&vehicle.database),
                unread: Vec::new(),
            })
            .collect(),
    }
}

/// Objects as they were written.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) written: Vec<(String, Vec<u8>)>,
    pub(crate) ended_count: usize,
}

impl Sink for Objects {
    fn begin(&mut self, name: &str) -> io::Result<()> {
        assert_eq!(self.ended_count, self.written.len(), "{name} begins before the one before has ended");
        self.written.push((name.to_owned(), Vec::new()));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (_, content) = self.written.last_mut().expect("an object was begun");
        content.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.ended_count += 1;
        Ok(())
    }
}

impl Objects {
    /// The bytes of a zip, which is one object.
    pub(crate) fn zip(mut self) -> Vec<u8> {
        assert_eq!((self.written.len(), self.ended_count), (1, 1), "a zip is one object");
        self.written.remove(0).1
    }
}

/// One run of the engine. Tests set the fields that matter to them.
#[derive(Debug)]
pub(crate) struct Run {
    /// Pool threads, one to three.
    pub(crate) threads: usize,
    /// Size of slices, in bytes of documents.
    pub(crate) slice_bytes: usize,
    /// The largest result.
    pub(crate) result_limits: ResultLimits,
    pub(crate) meter: Meter,
    pub(crate) stop: StopFlag,
    /// Objects of the attempts that did not succeed, in order.
    pub(crate) discarded: Vec<Objects>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            threads: 2,
            slice_bytes: 1 << 20,
            result_limits: ResultLimits::default(),
            meter: Meter::default(),
            stop: StopFlag::default(),
            discarded: Vec::new(),
        }
    }
}

impl Run {
    /// Exports into objects in memory.
    pub(crate) fn export(
        &mut self,
        plan: &Plan,
        source: &dyn Source,
    ) -> Result<Exported<Objects>, EngineError> {
        let mut discarded = std::mem::take(&mut self.discarded);
        let outcome = self.export_to(plan, source, &mut KeptObjects(&mut discarded));
        self.discarded = discarded;
        outcome
    }

    /// Exports into other sinks.
    pub(crate) fn export_to<F: SinkFactory>(
        &self,
        plan: &Plan,
        source: &dyn Source,
        sinks: &mut F,
    ) -> Result<Exported<F::Sink>, EngineError> {
        let slice = SliceSize { target_bytes: self.slice_bytes, most_bytes: self.slice_bytes };
        let limits =
            Limits { slice, slices_share_bytes: 4 << 20, hour_bytes: 64 << 20, result: self.result_limits };
        let task = ExportTask { plan, source, limits, meter: &self.meter, stop: &self.stop };
        engine(self.threads).export(&task, sinks)
    }
}

/// Keeps discarded objects.
struct KeptObjects<'a>(&'a mut Vec<Objects>);

impl SinkFactory for KeptObjects<'_> {
    type Sink = Objects;

    fn open(&mut self) -> io::Result<Objects> {
        Ok(Objects::default())
    }

    fn discard(&mut self, sink: Objects) {
        self.0.push(sink);
    }
}

/// Engines of one to three threads, started once per process.
fn engine(threads: usize) -> &'static Engine {
    static ENGINES: LazyLock<Vec<Engine>> = LazyLock::new(|| {
        let threads = (1..=3).filter_map(NonZeroUsize::new);
        threads.map(|threads| Engine::new(threads).expect("threads")).collect()
    });
    &ENGINES[threads - 1]
}

/// The objects of an export with this many threads and slices of this size.
pub(crate) fn export(
    plan: &Plan,
    source: &dyn Source,
    slice_bytes: usize,
    threads: usize,
) -> Result<Objects, EngineError> {
    let mut run = Run { threads, slice_bytes, ..Run::default() };
    run.export(plan, source).map(|exported| exported.sink)
}

/// The zip of a plan.
pub(crate) fn archive(plan: &Plan, source: &dyn Source) -> Result<Vec<u8>, EngineError> {
    Run::default().export(plan, source).map(|exported| exported.sink.zip())
}

/// The collections of a vehicle with known oddities.
pub(crate) fn source_vehicle(vehicle: &OddVehicle) -> SourceVehicle {
    let collections = vehicle.collections.iter();
    SourceVehicle {
        database: format!("vehicle_{}", vehicle.suffix),
        collections: collections
            .map(|(name, hours)| ((*name).to_owned(), hours.iter().cloned().map(Into::into).collect()))
            .collect(),
    }
}
