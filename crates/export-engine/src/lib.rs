//! The export engine: hour documents in, one archive of aligned, chronological CSVs out.
//!
//! Synchronous and pure: it knows no runtime, no network and no driver. Documents come from a [`Source`](export_core::source::Source), bytes go
//! to any [`std::io::Write`], how far it is can be read from a [`Meter`] by another thread. What it holds in memory
//! is one slice (about a megabyte of documents) and its encoding, whatever the range.
//!
//! Start at [`export`], the recipe; then follow one vehicle: [`slice`](mod@slice) gathers its documents,
//! [`bucket`] decodes them, [`merge`] aligns them by time, [`row`] writes them, [`archive`] packs them.

mod archive;
mod bucket;
mod column;
mod element;
mod export;
mod merge;
mod meter;
mod row;
mod slice;
mod tally;

pub use export::{EngineError, Plan, PlanRequest, VehiclePlan, export, export_in_slices};
pub use meter::Meter;
