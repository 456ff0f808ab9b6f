//! One vehicle's file: rows of its slices in, compressed bytes out.

use std::io::{self, Write};

use super::resample::{ResampleCounts, Resampler};
use super::rows::{RowCounts, RowReceiver, RowSink, align_for};
use super::{EncodedRows, Encoder, Encoding, FileWriter, SliceRows};
use crate::error::{EngineError, ResultTooLarge};
use crate::limits::ResultLimits;
use crate::pack::blocks::{BlockCompressor, Codec, FileTotals};
use crate::read::column::{Column, Value};
use crate::resources::Resources;
use crate::stop::StopFlag;

/// The most rows that a file may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxRows {
    /// What the files before it have left.
    left: u64,
    /// The limit of all files together.
    of_result: u64,
}

impl MaxRows {
    /// The most rows of the first file.
    pub(crate) fn of_result(limits: ResultLimits) -> Self {
        Self { left: limits.max_rows, of_result: limits.max_rows }
    }

    /// The most rows of the next file, after one with this number of rows.
    #[must_use]
    pub(crate) fn after(self, rows: u64) -> Self {
        Self { left: self.left.saturating_sub(rows), ..self }
    }

    fn check(self, rows: u64) -> Result<(), ResultTooLarge> {
        if rows > self.left { Err(ResultTooLarge::Rows { max_rows: self.of_result }) } else { Ok(()) }
    }
}

/// A vehicle's file being written.
pub(crate) struct Table<'r, E: Encoder> {
    resources: &'r Resources,
    stop: &'r StopFlag,
    compressor: BlockCompressor<'r>,
    file: E::File<'r>,
    resampling: Option<Resampling<E::Rows>>,
    max_rows: MaxRows,
    /// Points that became a cell, by column.
    cells: Vec<u64>,
    counts: RowCounts,
}

/// Resampled rows are encoded here, in order; other rows come encoded.
struct Resampling<R> {
    resampler: Resampler,
    rows: R,
}

/// Size and counts of a finished file.
#[derive(Debug)]
pub(crate) struct TableTotals {
    pub(crate) file: FileTotals,
    pub(crate) counts: RowCounts,
    pub(crate) resampling: ResampleCounts,
}

impl<'r, E: Encoder> Table<'r, E> {
    /// Begins the file, with its header if the format has one.
    pub(crate) fn begin(
        encoding: &Encoding<E>,
        resources: &'r Resources,
        stop: &'r StopFlag,
        max_rows: MaxRows,
        entry: &'r mut dyn Write,
    ) -> io::Result<Self> {
        let Encoding { shape, encoder, intervals, .. } = encoding;
        let column_count = shape.columns.len();
        let mut compressor = BlockCompressor::begin(Codec::of(&shape.options), resources, entry)?;
        let file = encoder.begin_file(resources, &mut compressor)?;
        let resampling = intervals.map(|intervals| Resampling {
            resampler: Resampler::new(intervals, column_count),
            rows: encoder.rows(resources),
        });
        let (cells, counts) = (vec![0; column_count], RowCounts::default());
        Ok(Self { resources, stop, compressor, file, resampling, max_rows, cells, counts })
    }

    /// Rows so far.
    pub(crate) fn row_count(&self) -> u64 {
        let resampled = self.resampling.as_ref().map_or(0, |resampling| resampling.rows.counts().rows);
        self.counts.rows + resampled
    }

    /// Appends the next slice's rows.
    pub(crate) fn push(&mut self, rows: SliceRows<E::Rows>) -> Result<(), EngineError> {
        match rows {
            SliceRows::Encoded { rows, cells } => self.append(rows, cells)?,
            SliceRows::Decoded { mut rows, columns, cells } => {
                let max_rows = self.max_rows.after(self.counts.rows);
                let (file, compressor, stop) = (&mut self.file, &mut self.compressor, self.stop);
                align_for(&columns, &mut Appended { rows: &mut rows, file, compressor, stop, max_rows })?;
                self.resources.give_back_columns(columns);
                self.append(rows, cells)?;
            }
            SliceRows::Thinned(columns) => {
                self.resample(&columns)?;
                self.resources.give_back_columns(columns);
            }
        }
        Ok(())
    }

    /// Appends the rest of a slice's rows, and adds the counts of all of them.
    fn append(&mut self, mut rows: E::Rows, cells: Vec<u64>) -> Result<(), EngineError> {
        self.counts.merge(rows.counts());
        self.max_rows.check(self.counts.rows)?;
        for (sum, cells) in self.cells.iter_mut().zip(cells) {
            *sum += cells;
        }
        self.file.append(&mut rows, &mut self.compressor)?;
        rows.recycle(self.resources);
        Ok(())
    }

    fn resample(&mut self, columns: &[Column]) -> Result<(), EngineError> {
        let Some(Resampling { resampler, rows }) = &mut self.resampling else { return Ok(()) };
        let (file, compressor, stop) = (&mut self.file, &mut self.compressor, self.stop);
        let max_rows = self.max_rows;
        resampler.push(columns, &mut Appended { rows, file, compressor, stop, max_rows })
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> Result<TableTotals, EngineError> {
        let resampling = match self.resampling.take() {
            Some(Resampling { resampler, mut rows }) => {
                let (file, compressor, stop) = (&mut self.file, &mut self.compressor, self.stop);
                let max_rows = self.max_rows;
                let mut resampled = Appended { rows: &mut rows, file, compressor, stop, max_rows };
                let counts = resampler.finish(&mut resampled)?;
                max_rows.check(rows.counts().rows)?;
                self.file.append(&mut rows, &mut self.compressor)?;
                self.counts.merge(rows.counts());
                rows.recycle(self.resources);
                counts
            }
            None => ResampleCounts { cells: self.cells, ..ResampleCounts::default() },
        };
        self.file.finish(&mut self.compressor)?;
        Ok(TableTotals { file: self.compressor.finish()?, counts: self.counts, resampling })
    }
}

/// Takes rows, and appends them to the file whenever there are enough.
struct Appended<'a, 'r, R, F> {
    rows: &'a mut R,
    file: &'a mut F,
    compressor: &'a mut BlockCompressor<'r>,
    stop: &'a StopFlag,
    max_rows: MaxRows,
}

impl<R: EncodedRows, F: FileWriter<Rows = R>> RowReceiver for Appended<'_, '_, R, F> {
    fn row<'v>(
        &mut self,
        time_ms: i64,
        cells: impl Iterator<Item = Option<Value<&'v str>>>,
    ) -> Result<(), EngineError> {
        write_row(time_ms, cells, self.rows);
        if self.rows.is_full() {
            // A filled gap or a slice may have many rows, so the stop flag and the limit are
            // checked here too.
            if self.stop.is_stopped() {
                return Err(EngineError::Stopped);
            }
            self.max_rows.check(self.rows.counts().rows)?;
            self.file.append(self.rows, self.compressor)?;
        }
        Ok(())
    }
}

fn write_row<'v>(time_ms: i64, cells: impl Iterator<Item = Option<Value<&'v str>>>, rows: &mut impl RowSink) {
    rows.time(time_ms);
    for (index, cell) in cells.enumerate() {
        match cell {
            Some(value) => rows.cell(index, value),
            None => rows.blank(index),
        }
    }
    rows.end();
}
