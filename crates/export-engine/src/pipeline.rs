//! Slices in parallel and in order: one thread gathers them, the pool works on them, the caller
//! takes them in order.

mod gate;
mod slice_work;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use bytes::Bytes;
use export_core::Parameter;
use export_core::source::{HourDocuments, SourceError};

use crate::encode::{Encoder, Encoding};
use crate::error::{EngineError, PassError};
use crate::limits::expansion_factor;
use crate::meter::Meter;
use crate::plan::VehiclePlan;
use crate::pool::Pending;
use crate::read::slice::{Slice, Slicer};
use crate::resources::Resources;
use crate::task::ExportTask;
use gate::{Permit, SliceGate};
use slice_work::{FinishedSlice, work_on};

/// Most slices that wait to be taken, however small they are.
const SLICES_AHEAD: usize = 64;

/// A slice that a pool thread works on.
struct InFlight<R> {
    work: Pending<Result<FinishedSlice<R>, PassError>>,
    permit: Permit,
    millionths_done: u64,
}

/// A finished slice, in order. Its memory counts until it is dropped.
pub(crate) struct OrderedSlice<R> {
    pub(crate) finished: FinishedSlice<R>,
    /// Fraction of the vehicle's range up to the end of this slice, in millionths.
    pub(crate) millionths_done: u64,
    _permit: Permit,
}

/// The slices of all vehicles of a plan, in order. Dropping it ends the gathering thread.
pub(crate) struct Slices<R> {
    /// `None` stands for the end of a vehicle.
    receiver: Receiver<Result<Option<InFlight<R>>, EngineError>>,
    gate: SliceGate,
}

impl<R> Slices<R> {
    /// The current vehicle's next slice. `None` at the vehicle's end; the next call returns the
    /// next vehicle's first slice.
    pub(crate) fn next(&mut self) -> Result<Option<OrderedSlice<R>>, PassError> {
        // The sender hangs up early only if its thread panics, and the scope passes the panic on.
        let gathered = self.receiver.recv().unwrap_or(Err(EngineError::Stopped))?;
        let Some(InFlight { work, permit, millionths_done }) = gathered else { return Ok(None) };
        Ok(Some(OrderedSlice { finished: work.wait()?, millionths_done, _permit: permit }))
    }

    /// Reads on after a slice with unfit columns, without encoding anything, until `end_documents`
    /// are read or all. Adds the parameters of further unfit columns to `found`, and returns them
    /// as the outcome of the pass.
    pub(crate) fn survey(
        self,
        mut found: BTreeSet<Parameter>,
        end_documents: u64,
        meter: &Meter,
    ) -> PassError {
        while meter.documents() < end_documents {
            // The sender hangs up after the last vehicle.
            let Ok(gathered) = self.receiver.recv() else { break };
            let slice = match gathered {
                Ok(slice) => slice,
                Err(error) => return error.into(),
            };
            let Some(InFlight { work, millionths_done, .. }) = slice else {
                meter.vehicle_done();
                continue;
            };
            match work.wait() {
                // Encoded before the survey began.
                Ok(_) => {}
                Err(PassError::NotNumeric(more)) => found.extend(more),
                Err(failed) => return failed,
            }
            meter.slice_done(0, 0, millionths_done);
        }
        PassError::NotNumeric(found)
    }
}

impl<R> Drop for Slices<R> {
    fn drop(&mut self) {
        self.gate.close();
    }
}

/// Runs `consume` while another thread gathers the plan's slices.
pub(crate) fn with_slices<E: Encoder, T>(
    task: &ExportTask<'_>,
    encoding: &Arc<Encoding<E>>,
    resources: &Resources,
    consume: impl FnOnce(Slices<E::Rows>) -> Result<T, PassError>,
) -> Result<T, PassError> {
    let (sender, receiver) = sync_channel(SLICES_AHEAD);
    let gate = SliceGate::new(task.limits.slices_share_bytes);
    let gatherer = Gatherer { task, encoding, resources, gate: gate.clone(), sender };
    thread::scope(|scope| {
        scope.spawn(move || {
            resources.pool.before_work();
            gatherer.run();
        });
        consume(Slices { receiver, gate })
    })
}

struct Gatherer<'a, E: Encoder> {
    task: &'a ExportTask<'a>,
    encoding: &'a Arc<Encoding<E>>,
    resources: &'a Resources,
    gate: SliceGate,
    sender: SyncSender<Result<Option<InFlight<E::Rows>>, EngineError>>,
}

/// The consumer has stopped taking slices. It knows the reason, so there is none here.
struct Disconnected;

impl<E: Encoder> Gatherer<'_, E> {
    fn run(self) {
        for vehicle_plan in &self.task.plan.vehicles {
            match self.vehicle(vehicle_plan) {
                Ok(Ok(())) => {}
                Ok(Err(Disconnected)) => return,
                Err(error) => {
                    self.sender.send(Err(error)).ok();
                    return;
                }
            }
        }
    }

    fn vehicle(&self, vehicle_plan: &VehiclePlan) -> Result<Result<(), Disconnected>, EngineError> {
        if self.task.stop.is_stopped() {
            return Err(EngineError::Stopped);
        }
        let expansion_factor = expansion_factor(self.encoding.encoder.row_bytes());
        let size = self.task.limits.slice.for_expansion(expansion_factor);
        let (range, hour_bytes) = (self.task.plan.request.range, self.task.limits.hour_bytes);
        let collections = self.open(vehicle_plan)?;
        let mut slicer = Slicer::new(vehicle_plan.vehicle.clone(), range, size, hour_bytes, collections);
        while let Some(slice) = slicer.next()? {
            self.resources.pool.before_work();
            if self.task.stop.is_stopped() {
                return Err(EngineError::Stopped);
            }
            let Some(permit) = self.gate.enter(slice.bytes.saturating_mul(expansion_factor)) else {
                return Ok(Err(Disconnected));
            };
            let in_flight = self.submit(slice, permit);
            if self.sender.send(Ok(Some(in_flight))).is_err() {
                return Ok(Err(Disconnected));
            }
        }
        Ok(self.sender.send(Ok(None)).map_err(|_| Disconnected))
    }

    fn submit(&self, slice: Slice, permit: Permit) -> InFlight<E::Rows> {
        let (encoding, resources) = (Arc::clone(self.encoding), self.resources.clone());
        let millionths_done = slice.millionths_done;
        let work = self.resources.pool.submit(move || work_on(&encoding, slice, &resources));
        InFlight { work, permit, millionths_done }
    }

    /// Opens the vehicle's collections from an hour before the range on, since a document holds
    /// points up to an hour after its `_id`.
    #[expect(clippy::type_complexity, reason = "used once")]
    fn open(
        &self,
        vehicle_plan: &VehiclePlan,
    ) -> Result<Vec<(Parameter, Option<Box<dyn HourDocuments + '_>>)>, EngineError> {
        let plan = self.task.plan;
        let documents = plan.request.range.with_hour_before();
        let parameters = plan.parameters.iter().zip(&vehicle_plan.has_collection);
        parameters
            .map(|(parameter, has_collection)| {
                let open = || -> Result<Box<dyn HourDocuments + '_>, SourceError> {
                    let documents = self.task.source.open(&vehicle_plan.vehicle, parameter, documents)?;
                    Ok(Box::new(CountedDocuments { documents, meter: self.task.meter }))
                };
                Ok((parameter.clone(), has_collection.then(open).transpose()?))
            })
            .collect()
    }
}

/// Counts documents as they are read.
struct CountedDocuments<'a> {
    documents: Box<dyn HourDocuments + 'a>,
    meter: &'a Meter,
}

impl HourDocuments for CountedDocuments<'_> {
    fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let next = self.documents.next()?;
        if next.is_some() {
            self.meter.add_document();
        }
        Ok(next)
    }
}
