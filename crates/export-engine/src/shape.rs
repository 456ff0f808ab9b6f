//! What all slices of one pass have in common.

use std::collections::BTreeSet;

use chrono_tz::Tz;
use export_core::output::OutputOptions;
use export_core::{Parameter, TimeRange};

use crate::names::column_names;
use crate::plan::Plan;

/// The columns and the options of a result; all slices have them in common.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) range: TimeRange,
    /// The parameters in the order of the columns after `time`.
    pub(crate) parameters: Vec<Parameter>,
    /// The names of these columns.
    pub(crate) columns: Vec<String>,
    /// By column: whether a Parquet file has it as text, because not all of its values are numbers.
    pub(crate) is_text: Vec<bool>,
    pub(crate) options: OutputOptions,
    /// Zone of RFC 3339 times.
    pub(crate) timezone: Tz,
}

impl Shape {
    /// The shape of a plan's result, where these parameters are known to have values that are not
    /// numbers.
    pub(crate) fn of(plan: &Plan, text_parameters: &BTreeSet<Parameter>) -> Self {
        let parameters = plan.parameters.clone();
        Self {
            range: plan.request.range,
            is_text: parameters.iter().map(|parameter| text_parameters.contains(parameter)).collect(),
            columns: column_names(&parameters, &plan.request.output),
            parameters,
            options: plan.request.output,
            timezone: plan.request.timezone,
        }
    }
}
