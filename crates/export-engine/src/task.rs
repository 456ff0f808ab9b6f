//! The input of the engine.

use export_core::source::Source;

use crate::limits::Limits;
use crate::meter::Meter;
use crate::plan::Plan;
use crate::stop::StopFlag;

/// One export for the engine: its plan and source, its bounds, and how other threads watch and end
/// it.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "a source need not be debuggable")]
pub struct ExportTask<'a> {
    /// What to export.
    pub plan: &'a Plan,
    /// Where to read it. The plan was made from this source or from a restricted view of it.
    pub source: &'a dyn Source,
    /// Memory bounds.
    pub limits: Limits,
    /// Gets the progress.
    pub meter: &'a Meter,
    /// Ends the export early.
    pub stop: &'a StopFlag,
}
