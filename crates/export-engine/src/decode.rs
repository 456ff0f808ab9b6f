//! One slice's work, done on any thread: documents → columns → rows.

use std::collections::BTreeSet;

use chrono_tz::Tz;
use export_core::output::{CsvGuard, Fill, Format, OutputOptions};
use export_core::{Parameter, TimeRange};

use crate::batch_rows::{BatchRows, RowSchema, is_numeric};
use crate::bucket::{Scope, decode};
use crate::column::Column;
use crate::context::Workshop;
use crate::csv_rows::{CsvRows, RowCounts};
use crate::engine::EngineError;
use crate::limits::bytes_per_document_byte;
use crate::merge::merge;
use crate::plan::Plan;
use crate::resample::Intervals;
use crate::slice::Slice;
use crate::tally::Tally;
use crate::time_text::TimeText;

/// What every slice of an export has in common.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) range: TimeRange,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) output: OutputOptions,
    pub(crate) timezone: Tz,
    pub(crate) intervals: Option<Intervals>,
    pub(crate) schema: RowSchema,
}

impl Shape {
    pub(crate) fn of(plan: &Plan) -> Self {
        let request = &plan.request;
        let is_text = |parameter: &Parameter| plan.text_parameters.contains(parameter);
        Self {
            range: request.range,
            parameters: plan.parameters.clone(),
            output: request.output,
            timezone: request.timezone,
            intervals: request.output.resampling.map(|resampling| Intervals::new(request.range, resampling)),
            schema: RowSchema::new(plan.parameters.iter().map(|p| (p.as_str(), is_text(p)))),
        }
    }

    /// Memory that a slice takes for each byte of its documents.
    pub(crate) fn bytes_per_document_byte(&self) -> usize {
        let column_count = self.parameters.len();
        bytes_per_document_byte(match self.output.format {
            // Time and value, and a comma for each column.
            Format::Csv => 24 + column_count,
            Format::Parquet => size_of::<u64>() * (1 + column_count),
        })
    }

    /// An encoder of rows as text, appending to `text`.
    pub(crate) fn csv_rows(&self, text: Vec<u8>) -> CsvRows {
        let times = TimeText::new(self.output.time_format, self.timezone);
        CsvRows::new(text, times, self.output.csv_guard == CsvGuard::On)
    }
}

/// What a slice turned out to be.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) tally: Tally,
    pub(crate) rows: Rows,
}

/// A slice's rows.
#[derive(Debug)]
pub(crate) enum Rows {
    /// As text.
    Text { text: Vec<u8>, counts: RowCounts, cells: Vec<u64> },
    /// As columns of a Parquet file.
    Batch { batch: BatchRows, cells: Vec<u64> },
    /// The last points of each interval, still to be resampled: an interval may reach into the next slice.
    Thinned(Vec<Column>),
}

/// Decodes a slice's documents and encodes its rows.
pub(crate) fn decode_slice(shape: &Shape, slice: Slice, workshop: &Workshop) -> Result<Decoded, EngineError> {
    let mut columns = workshop.columns(shape.parameters.len());
    let mut tally = Tally::default();
    decode_documents(shape, slice, &mut columns, &mut tally);
    if shape.output.format == Format::Parquet {
        refuse_text_in_numbers(shape, &columns)?;
    }

    if let Some(intervals) = &shape.intervals {
        let only_known = intervals.fill() == Fill::Previous;
        let thinned = columns.iter_mut().map(|column| column.thin_out(intervals.starts(), only_known));
        tally.counts.resampled_away += thinned.sum::<u64>();
        return Ok(Decoded { tally, rows: Rows::Thinned(columns) });
    }
    let cells = columns.iter().map(|column| column.len() as u64).collect();
    let rows = match shape.output.format {
        Format::Csv => {
            let mut rows = shape.csv_rows(workshop.text());
            merge(&columns, &mut rows);
            Rows::Text { counts: rows.counts, text: rows.into_text(), cells }
        }
        Format::Parquet => {
            let mut batch = BatchRows::new(&shape.schema);
            merge(&columns, &mut batch);
            Rows::Batch { batch, cells }
        }
    };
    workshop.give_back_columns(columns);
    Ok(Decoded { tally, rows })
}

/// Decodes hour by hour and in an hour column by column: so what is counted first, and kept as a sample, does not depend
/// on where slices end.
fn decode_documents(shape: &Shape, slice: Slice, columns: &mut [Column], tally: &mut Tally) {
    let mut documents = Vec::new();
    for (index, slice_column) in slice.columns.into_iter().enumerate() {
        documents.extend(slice_column.carried.into_iter().map(|document| (index, document, true)));
        documents.extend(slice_column.documents.into_iter().map(|document| (index, document, false)));
    }
    // Stable, so that columns stay in order within an hour, and documents of one column as they came.
    documents.sort_by_key(|(_, document, _)| document.start_ms);
    // Each document is let go as soon as it is decoded.
    for (index, document, is_carried) in documents {
        let scope = Scope { range: shape.range, window: slice.window, is_carried };
        decode(&document, &shape.parameters[index], scope, &mut columns[index], tally);
    }
    tally.counts.duplicates += columns.iter_mut().map(Column::settle).sum::<u64>();
}

/// Finds the columns that were taken for numbers and are not.
fn refuse_text_in_numbers(shape: &Shape, columns: &[Column]) -> Result<(), EngineError> {
    let mut found = BTreeSet::new();
    for (index, column) in columns.iter().enumerate() {
        if !shape.schema.is_text(index) && !is_numeric(column) {
            found.insert(shape.parameters[index].clone());
        }
    }
    if found.is_empty() { Ok(()) } else { Err(EngineError::NotNumeric(found)) }
}
