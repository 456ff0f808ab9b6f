//! The work on one slice, done by any pool thread: documents → columns → encoded rows.

use export_core::output::Fill;

use crate::encode::rows::align;
use crate::encode::{Encoder, Encoding, SliceRows};
use crate::error::PassError;
use crate::read::bucket::{Scope, decode};
use crate::read::column::Column;
use crate::read::coverage::SliceHours;
use crate::read::slice::Slice;
use crate::read::tally::Tally;
use crate::resources::Resources;
use crate::shape::Shape;

/// A slice whose work is done.
#[derive(Debug)]
pub(crate) struct FinishedSlice<R> {
    pub(crate) tally: Tally,
    pub(crate) hours: SliceHours,
    pub(crate) rows: SliceRows<R>,
}

/// Most memory of a slice's encoded rows. Slices of usual data stay far below it.
const MAX_ENCODED_BYTES: usize = 8 << 20;

/// Decodes a slice's documents and encodes its rows. In a survey the outcome is always
/// [`PassError::NotNumeric`], with the parameters of unfit columns, if there are any.
pub(super) fn work_on<E: Encoder>(
    encoding: &Encoding<E>,
    slice: Slice,
    resources: &Resources,
) -> Result<FinishedSlice<E::Rows>, PassError> {
    let Encoding { shape, encoder, intervals, .. } = encoding;
    let mut columns = resources.columns(shape.parameters.len());
    let mut tally = Tally::default();
    decode_documents(shape, slice, &mut columns, &mut tally);
    let unfit = encoder.unfit_columns(&columns);
    if !unfit.is_empty() || encoding.is_survey() {
        resources.give_back_columns(columns);
        let names = unfit.into_iter().map(|index| shape.parameters[index].clone());
        return Err(PassError::NotNumeric(names.collect()));
    }

    let hours = SliceHours::of(&columns);
    if let Some(intervals) = intervals {
        let only_known = intervals.fill() == Fill::Previous;
        let dropped = columns.iter_mut().map(|column| column.thin_out(intervals.starts(), only_known));
        tally.counts.resampled_away += dropped.sum::<u64>();
        return Ok(FinishedSlice { tally, hours, rows: SliceRows::Thinned(columns) });
    }
    let cells = columns.iter().map(|column| column.len() as u64).collect();
    let mut rows = encoder.rows(resources);
    if is_large(&columns, encoder.row_bytes()) {
        return Ok(FinishedSlice { tally, hours, rows: SliceRows::Decoded { rows, columns, cells } });
    }
    align(&columns, &mut rows);
    resources.give_back_columns(columns);
    Ok(FinishedSlice { tally, hours, rows: SliceRows::Encoded { rows, cells } })
}

/// Whether the rows of these columns take more than [`MAX_ENCODED_BYTES`]. Few points make many
/// bytes where each has a row of its own in a file with many columns.
fn is_large(columns: &[Column], row_bytes: usize) -> bool {
    let most_rows = MAX_ENCODED_BYTES / row_bytes.max(1);
    if columns.iter().map(Column::len).sum::<usize>() <= most_rows {
        return false;
    }
    let mut times: Vec<i64> = columns.iter().flat_map(Column::times).copied().collect();
    times.sort_unstable();
    times.dedup();
    times.len() > most_rows
}

/// Decodes hour by hour, and column by column within an hour, so that the order of counts and
/// samples does not depend on where slices end.
fn decode_documents(shape: &Shape, slice: Slice, columns: &mut [Column], tally: &mut Tally) {
    let mut documents = Vec::new();
    for (index, slice_column) in slice.columns.into_iter().enumerate() {
        documents.extend(slice_column.carried.into_iter().map(|document| (index, document, true)));
        documents.extend(slice_column.documents.into_iter().map(|document| (index, document, false)));
    }
    // A stable sort keeps columns in order within an hour, and the documents of a column as they
    // came.
    documents.sort_by_key(|(_, document, _)| document.start_ms);
    // Each document's memory is freed as soon as it is decoded.
    for (index, document, is_carried) in documents {
        let scope = Scope { range: shape.range, window: slice.window, is_carried };
        decode(&document, &shape.parameters[index], scope, &mut columns[index], tally);
    }
    tally.counts.duplicates += columns.iter_mut().map(Column::settle).sum::<u64>();
}
