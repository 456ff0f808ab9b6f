//! Slices side by side and in order: one thread gathers them, the pool decodes them, the caller takes them as they were gathered.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use export_core::Parameter;
use export_core::source::{HourDocuments, Source, SourceError};

use crate::context::Workshop;
use crate::decode::{Decoded, Shape, decode_slice};
use crate::engine::EngineError;
use crate::limits::Limits;
use crate::meter::Meter;
use crate::plan::{Plan, VehiclePlan};
use crate::pool::Pending;
use crate::slice::{Slice, Slicer};

/// Slices that may wait to be taken, however small they are.
const SLICES_AHEAD: usize = 64;

/// What the gathering thread sends.
enum Gathered {
    Slice(InFlight),
    VehicleEnd,
}

/// A slice that is being decoded.
struct InFlight {
    decoded: Pending<Result<Decoded, EngineError>>,
    permit: Permit,
    millionths_done: u64,
}

/// A decoded slice, in order. Its memory counts until it is dropped.
pub(crate) struct DecodedSlice {
    pub(crate) decoded: Decoded,
    /// Share of the vehicle's range that is done with this slice, in millionths.
    pub(crate) millionths_done: u64,
    _permit: Permit,
}

/// The slices of all vehicles of a plan, in order.
pub(crate) struct Slices {
    receiver: Receiver<Result<Gathered, EngineError>>,
    gate: Gate,
}

impl Slices {
    /// The current vehicle's next slice; `None` at its end, after which come the next vehicle's.
    pub(crate) fn next(&mut self) -> Result<Option<DecodedSlice>, EngineError> {
        // The sender hangs up early only when its thread panics, which the scope passes on.
        match self.receiver.recv().unwrap_or(Err(EngineError::Stopped))? {
            Gathered::VehicleEnd => Ok(None),
            Gathered::Slice(InFlight { decoded, permit, millionths_done }) => {
                Ok(Some(DecodedSlice { decoded: decoded.wait()?, millionths_done, _permit: permit }))
            }
        }
    }
}

impl Drop for Slices {
    fn drop(&mut self) {
        self.gate.close();
    }
}

/// Runs `consume` beside a thread that gathers the plan's slices.
pub(crate) fn with_slices<T>(
    plan: &Plan,
    source: &dyn Source,
    meter: &Meter,
    workshop: &Workshop,
    limits: &Limits,
    consume: impl FnOnce(Slices) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let (sender, receiver) = sync_channel(SLICES_AHEAD);
    let gate = Gate::new(limits.slices_share_bytes);
    let gatherer = Gatherer {
        plan,
        source,
        meter,
        workshop,
        limits,
        shape: Arc::new(Shape::of(plan)),
        gate: gate.clone(),
        sender,
    };
    thread::scope(|scope| {
        scope.spawn(move || {
            workshop.pool.begin_this_thread();
            gatherer.run();
        });
        consume(Slices { receiver, gate })
    })
}

struct Gatherer<'a> {
    plan: &'a Plan,
    source: &'a dyn Source,
    meter: &'a Meter,
    workshop: &'a Workshop,
    limits: &'a Limits,
    shape: Arc<Shape>,
    gate: Gate,
    sender: SyncSender<Result<Gathered, EngineError>>,
}

/// Nobody takes slices any more: why they do not is known to who took them.
struct NobodyListens;

impl Gatherer<'_> {
    fn run(self) {
        for vehicle_plan in &self.plan.vehicles {
            match self.vehicle(vehicle_plan) {
                Ok(Ok(())) => {}
                Ok(Err(NobodyListens)) => return,
                Err(error) => {
                    self.sender.send(Err(error)).ok();
                    return;
                }
            }
        }
    }

    fn vehicle(&self, vehicle_plan: &VehiclePlan) -> Result<Result<(), NobodyListens>, EngineError> {
        if self.meter.is_stopped() {
            return Err(EngineError::Stopped);
        }
        let range = self.plan.request.range;
        let byte_bytes = self.shape.bytes_per_document_byte();
        let size = self.limits.slice.where_a_byte_takes(byte_bytes);
        let mut slicer = Slicer::new(range, size, self.open(vehicle_plan)?);
        while let Some(slice) = slicer.next()? {
            if self.meter.is_stopped() {
                return Err(EngineError::Stopped);
            }
            let Some(permit) = self.gate.enter(slice.bytes.saturating_mul(byte_bytes)) else {
                return Ok(Err(NobodyListens));
            };
            let in_flight = self.begin(slice, permit);
            if self.sender.send(Ok(Gathered::Slice(in_flight))).is_err() {
                return Ok(Err(NobodyListens));
            }
        }
        Ok(self.sender.send(Ok(Gathered::VehicleEnd)).map_err(|_| NobodyListens))
    }

    fn begin(&self, slice: Slice, permit: Permit) -> InFlight {
        let (shape, workshop) = (Arc::clone(&self.shape), self.workshop.clone());
        let millionths_done = slice.millionths_done;
        let decoded = self.workshop.pool.submit(move || decode_slice(&shape, slice, &workshop));
        InFlight { decoded, permit, millionths_done }
    }

    /// Opens the vehicle's collections from an hour before the range, since a document reaches an hour from its `_id`.
    #[expect(clippy::type_complexity, reason = "used once")]
    fn open(
        &self,
        vehicle_plan: &VehiclePlan,
    ) -> Result<Vec<(Parameter, Option<Box<dyn HourDocuments + '_>>)>, EngineError> {
        let documents = self.plan.request.range.with_hour_before();
        let parameters = self.plan.parameters.iter().zip(&vehicle_plan.has_collection);
        parameters
            .map(|(parameter, has_collection)| {
                let open = || -> Result<Box<dyn HourDocuments + '_>, SourceError> {
                    let documents = self.source.open(&vehicle_plan.vehicle, parameter, documents)?;
                    Ok(Box::new(CountedDocuments { documents, meter: self.meter }))
                };
                Ok((parameter.clone(), has_collection.then(open).transpose()?))
            })
            .collect()
    }
}

/// Documents that the meter counts as they are read.
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

/// Lets slices in while their memory stays below a bound. One slice alone may be larger than the bound, or nothing would go on.
#[derive(Clone, Debug)]
struct Gate {
    shared: Arc<(Mutex<GateState>, Condvar)>,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct GateState {
    bytes: usize,
    is_closed: bool,
}

/// Memory that is in use until this is dropped.
struct Permit {
    gate: Gate,
    bytes: usize,
}

impl Gate {
    fn new(most_bytes: usize) -> Self {
        Self { shared: Arc::default(), most_bytes }
    }

    /// Waits for room; `None` when the gate was closed.
    fn enter(&self, bytes: usize) -> Option<Permit> {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.is_closed && state.bytes > 0 && state.bytes.saturating_add(bytes) > self.most_bytes {
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_closed {
            return None;
        }
        state.bytes = state.bytes.saturating_add(bytes);
        Some(Permit { gate: self.clone(), bytes })
    }

    fn close(&self) {
        self.change(|state| state.is_closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut GateState)) {
        let (state, changed) = &*self.shared;
        change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.change(|state| state.bytes = state.bytes.saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_lets_in_what_fits_and_one_thing_always() {
        let gate = Gate::new(10);
        let large = gate.enter(50).expect("one is always let in");
        drop(large);
        let first = gate.enter(6).expect("there is room");
        let second = gate.enter(4).expect("there is room");
        let waiting = thread::spawn({
            let gate = gate.clone();
            move || gate.enter(6).map(|permit| permit.bytes)
        });
        drop(second);
        drop(first);
        assert_eq!(waiting.join().expect("no panic"), Some(6));
    }

    #[test]
    fn a_closed_gate_lets_nobody_wait() {
        let gate = Gate::new(10);
        let _inside = gate.enter(10);
        let waiting = thread::spawn({
            let gate = gate.clone();
            move || gate.enter(1).is_none()
        });
        gate.close();
        assert!(waiting.join().expect("no panic"));
    }
}
