//! The export engine: hour documents in, one archive of aligned, chronological CSVs out.
//!
//! Synchronous and pure: it knows no runtime, no network and no driver. Documents come from a [`Source`](export_core::source::Source), bytes go
//! to any [`std::io::Write`], how far it is can be read from a [`Meter`] by another thread. What it holds in memory
//! is one slice (about a megabyte of documents) and its encoding, whatever the range.
//!
//! Start at [`export`], the recipe; then follow one vehicle: [`slice`](mod@slice) gathers its documents,
//! [`bucket`] decodes them, [`merge`] aligns them by time, [`row`] writes them, [`archive`] packs them.

mod archive;
mod batch_rows;
mod blocks;
mod bucket;
mod column;
mod context;
mod csv_rows;
mod decode;
mod dump;
mod element;
mod engine;
mod limits;
mod merge;
mod meter;
mod parquet_file;
mod pipeline;
mod plan;
mod pool;
mod resample;
mod slice;
mod table;
mod tally;
mod time_text;

pub use dump::{DumpError, DumpSource};
pub use engine::{Engine, EngineError};
pub use limits::{Limits, MemoryBudget};
pub use meter::Meter;
pub use plan::{Plan, PlanError, PlanRequest, VehiclePlan, plan};
pub use slice::SliceSize;
