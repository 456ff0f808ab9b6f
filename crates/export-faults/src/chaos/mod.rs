//! Seeded random schedules of faults over the real programs, and the protocol's invariants
//! afterwards.
//!
//! A [`Schedule`] determines which client posts which export at what time, and all faults; it is
//! made from a seed alone. [`play`] runs it on its own deployment, removes every fault, waits for
//! rest and gathers [`Evidence`]: the API's answers, every version of each job document, the
//! bucket, the server's log of writes to it, the queues. [`violations`] then judges the evidence
//! without reading anything else.
//!
//! Start at [`Servers`] and [`play`].

mod client;
mod evidence;
mod fault;
mod gather;
mod invariants;
mod play;
mod record;
mod report;
mod rest;
mod results;
mod schedule;
mod servers;
mod shape;
mod slot;
mod stage;
mod strike;

pub use evidence::{AcceptedJob, Evidence, FoundResult, Poison, Write};
pub use fault::{Fault, Network, Process, Service};
pub use gather::LeftOver;
pub use invariants::{Violation, violations};
pub use play::{Played, play};
pub use report::Totals;
pub use schedule::{Manner, PlannedFault, PlannedJob, Schedule};
pub use servers::Servers;
pub use shape::Shape;
