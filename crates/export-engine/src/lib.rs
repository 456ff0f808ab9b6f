//! The export engine: hour documents in, aligned and chronological files out: CSV or Parquet, in a zip or each by itself.
//!
//! Synchronous and pure: it knows no runtime, no network and no driver. Documents come from a
//! [`Source`](export_core::source::Source), of which one is here (a [`DumpSource`]); files go to a
//! [`Sink`](export_core::sink::Sink); how far it is can be read from a [`Meter`] by another thread. What it holds in memory is what
//! [`Limits`] allow, whatever the range. What it writes depends on the plan and the data alone.
//!
//! Start at [`plan`](fn@plan) and [`Engine::export`], the recipe; then follow one vehicle: [`pipeline`] gathers its
//! documents in [`slice`](mod@slice)s and has each worked on by [`decode`] ([`bucket`] reads the points, [`merge`] aligns them, [`csv_rows`]
//! or [`batch_rows`] encode them); [`table`] makes a file of the rows, [`blocks`] compress it, [`archive`] packs it.

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
