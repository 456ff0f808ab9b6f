//! A source that is a list, and the plan that answers a request on it.

use bson::{Bson, Document};
use bytes::Bytes;
use export_core::output::OutputOptions;
use export_core::source::{HourDocuments, Source, SourceError};
use export_core::{Parameter, TimeRange, VehicleId};
use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroUsize;
use std::sync::LazyLock;

use export_core::sink::Sink;
use export_engine::{Engine, EngineError, Limits, Meter, Plan, PlanRequest, SliceSize, VehiclePlan};
use export_testkit::reference::{ReferenceExport, ReferenceRequest, SourceVehicle};

/// Answers as a database would: documents whose numeric `_id` lies in the range, ascending.
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
    /// What [`Source::open`] gives, all at once.
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
        let mut found: Vec<&Document> =
            stored.iter().filter(|document| ids.contains(&id(document))).collect();
        found.sort_by(|one, other| id(one).total_cmp(&id(other)));
        found.into_iter().map(|document| document.to_vec().expect("valid BSON")).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "ids in tests are far below 2^53 ms")]
fn id(document: &Document) -> f64 {
    match document.get("_id") {
        Some(Bson::Double(id)) => *id,
        Some(Bson::Int32(id)) => f64::from(*id),
        Some(Bson::Int64(id)) => *id as f64,
        Some(Bson::Decimal128(id)) => id.to_string().parse().expect("a plain decimal"),
        other => panic!("tests have numeric ids only: {other:?}"),
    }
}

/// Documents one by one.
pub(crate) struct List(pub(crate) std::vec::IntoIter<Vec<u8>>);

impl HourDocuments for List {
    fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        Ok(self.0.next().map(Bytes::from))
    }
}

/// The plan that a worker would make for this request: the columns and vehicles that the reference has found.
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
        request: PlanRequest {
            start_date: "start".to_owned(),
            end_date: "end".to_owned(),
            timezone: chrono_tz::Tz::UTC,
            output: OutputOptions::default(),
            range: TimeRange::new(request.from_ms, request.to_ms).expect("a range"),
        },
        parameters: expected.parameters.iter().map(|name| name.parse().expect("a parameter")).collect(),
        vehicles: expected
            .vehicles
            .iter()
            .map(|vehicle| VehiclePlan {
                vehicle: vehicle.database.parse().expect("a vehicle"),
                has_collection: has_collections(&vehicle.database),
            })
            .collect(),
        text_parameters: BTreeSet::new(),
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
    /// The bytes of the one object of a zip.
    pub(crate) fn zip(mut self) -> Vec<u8> {
        assert_eq!((self.written.len(), self.ended_count), (1, 1), "a zip is one object");
        self.written.remove(0).1
    }
}

/// Engines of one to three threads, made once.
pub(crate) fn engine(threads: usize) -> &'static Engine {
    static ENGINES: LazyLock<Vec<Engine>> = LazyLock::new(|| {
        let threads = (1..=3).filter_map(NonZeroUsize::new);
        threads.map(|threads| Engine::new(threads).expect("threads")).collect()
    });
    &ENGINES[threads - 1]
}

pub(crate) fn limits(slice_bytes: usize) -> Limits {
    let slice = SliceSize { target_bytes: slice_bytes, most_bytes: slice_bytes };
    Limits { slice, slices_share_bytes: 4 << 20 }
}

/// The archive of a plan.
pub(crate) fn archive(plan: &Plan, source: &dyn Source) -> Result<Vec<u8>, EngineError> {
    let mut objects = Objects::default();
    engine(2).export(plan, source, &mut objects, &Meter::default(), &limits(1 << 20))?;
    Ok(objects.zip())
}
