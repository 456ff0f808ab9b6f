//! The export engine: hour documents in, aligned and chronological files out: CSV or Parquet, in a
//! zip or as separate objects.
//!
//! Synchronous and pure: no runtime, no network, no driver. Documents come from a
//! [`Source`](export_core::source::Source), of which this crate has one, [`DumpSource`]; files go
//! to a [`Sink`](export_core::sink::Sink). Another thread can read the progress from a [`Meter`]
//! and end the export with a [`StopFlag`]. Memory is bounded by [`Limits`], whatever the range. The
//! bytes depend on the plan and the data alone.
//!
//! Start at [`plan`](fn@plan) and [`Engine::export`], then follow one vehicle. [`pipeline`] gathers
//! its documents in slices and has each slice worked on by a pool thread. [`read`] turns documents
//! into columns of points; [`encode`] aligns the columns by time, encodes the rows and joins them
//! to a file; [`pack`] compresses the file and puts it into the archive.

mod encode;
mod engine;
mod error;
mod limits;
mod meter;
mod names;
mod pack;
mod pipeline;
mod plan;
mod pool;
mod read;
mod resources;
mod shape;
mod stop;
mod task;

pub use engine::{Engine, Exported};
pub use error::{EngineError, ParquetTooLarge, ResultTooLarge};
pub use limits::{Limits, MemoryBudget, ResultLimits};
pub use meter::Meter;
pub use plan::{Plan, PlanError, VehiclePlan, plan};
pub use read::dump::{DumpError, DumpSource, LeftOut, LeftOutReason};
pub use read::slice::SliceSize;
pub use stop::StopFlag;
pub use task::ExportTask;
