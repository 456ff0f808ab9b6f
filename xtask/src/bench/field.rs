//! The environment of every contestant, and how the work of the stack's processes is added to a
//! contestant's figures.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::background;
use crate::bench::data::{self, Data};
use crate::bench::measure::{self, Run};
use crate::stack::Stack;

/// A run that takes longer is stuck: Python needs a minute for the others' work of a second.
pub(crate) const RUN_LIMIT: Duration = Duration::from_mins(30);

/// The stack, the data and the settings of one benchmark.
#[derive(Debug)]
pub(crate) struct Field<'a> {
    pub(crate) stack: &'a Stack,
    /// The same stack with the programs of an earlier version.
    pub(crate) earlier: Option<&'a Stack>,
    pub(crate) data: &'a Data,
    /// The interpreter that has the Python exporter's packages.
    pub(crate) python: Option<&'a Path>,
    pub(crate) level: u32,
}

impl Field<'_> {
    /// The stack with the programs of an earlier version. Fails if there are none.
    pub(crate) fn earlier(&self) -> anyhow::Result<&Stack> {
        self.earlier.context("there is no earlier version: name its programs with --earlier")
    }
}

/// Reads the sizes and checksums of an archive's entries.
pub(crate) fn entries(field: &Field<'_>, file: &Path) -> anyhow::Result<measure::Output> {
    let mut command = field.stack.command(&field.stack.programs.find("bench-entries")?);
    let listing = measure::json(command.arg(file), RUN_LIMIT)?;
    data::output(&listing).with_context(|| format!("{} has no CSVs", file.display()))
}

/// Runs `run` and adds the CPU time that these parts of the stack used meanwhile. Parts that this
/// program did not start are left out.
pub(crate) fn with_parts(
    field: &Field<'_>,
    parts: &[&'static str],
    run: impl FnOnce() -> anyhow::Result<Run>,
) -> anyhow::Result<Run> {
    let before = parts_cpu_seconds(field, parts)?;
    let mut run = run()?;
    let after = parts_cpu_seconds(field, parts)?;
    // In the order of `parts`, because the first process of a run is the contestant's own.
    for part in parts {
        if let (Some(before), Some(after)) = (before.get(part), after.get(part)) {
            run.cpu_seconds.push((part, after - before));
        }
    }
    Ok(run)
}

fn parts_cpu_seconds(
    field: &Field<'_>,
    parts: &[&'static str],
) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let instance = field.stack.layout.stack();
    let running = parts.iter().filter_map(|part| Some((*part, background::running(&instance, part)?.pid())));
    running.map(|(part, pid)| Ok((part, measure::group_cpu_seconds(pid)?))).collect()
}
