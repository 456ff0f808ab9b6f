//! One vehicle's file: rows of its slices in, bytes of the file through its blocks to the output.

use std::io::{self, Write};

use export_core::output::{Archive, Compression, Format, OutputOptions};

use crate::batch_rows::BatchRows;
use crate::blocks::{Blocks, Codec, FileTotals};
use crate::column::{Column, Value};
use crate::context::Workshop;
use crate::csv_rows::{CsvRows, RowCounts, header};
use crate::decode::{Rows, Shape};
use crate::engine::EngineError;
use crate::merge::RowSink;
use crate::meter::Meter;
use crate::parquet_file::ParquetFile;
use crate::resample::{ResampleCounts, Resampler, RowOutput};

/// Rows of a resampled Parquet file that become a batch.
const BATCH_ROWS: usize = 8 << 10;
/// Text of a resampled file that is passed on at once.
const TEXT_BYTES: usize = 64 << 10;

/// A vehicle's file being written.
pub(crate) struct Table<'w> {
    workshop: &'w Workshop,
    meter: &'w Meter,
    blocks: Blocks<'w>,
    rows: RowsOf<'w>,
    resampler: Option<Resampler>,
    /// Points that became a cell, by column.
    cells: Vec<u64>,
    counts: RowCounts,
}

/// What is done with rows. The encoders are those of resampled rows; the others come encoded.
enum RowsOf<'w> {
    Csv(CsvRows),
    Parquet(Box<(BatchRows, ParquetFile<'w>)>),
}

/// What a file turned out to be.
#[derive(Debug)]
pub(crate) struct TableTotals {
    pub(crate) file: FileTotals,
    pub(crate) counts: RowCounts,
    pub(crate) resampling: ResampleCounts,
}

impl<'w> Table<'w> {
    /// Begins the file, with its header if it has one.
    pub(crate) fn begin(
        shape: &Shape,
        workshop: &'w Workshop,
        meter: &'w Meter,
        output: &mut dyn Write,
    ) -> io::Result<Self> {
        let mut blocks = Blocks::begin(codec(&shape.output), workshop, output)?;
        let rows = match shape.output.format {
            Format::Csv => {
                blocks.push(&header(&shape.parameters), output)?;
                RowsOf::Csv(shape.csv_rows(Vec::new()))
            }
            Format::Parquet => {
                let file = ParquetFile::begin(&shape.schema, workshop)?;
                RowsOf::Parquet(Box::new((BatchRows::new(&shape.schema), file)))
            }
        };
        let column_count = shape.parameters.len();
        let resampler = shape.intervals.map(|intervals| Resampler::new(intervals, column_count));
        let (cells, counts) = (vec![0; column_count], RowCounts::default());
        Ok(Self { workshop, meter, blocks, rows, resampler, cells, counts })
    }

    /// Rows written so far.
    pub(crate) fn row_count(&self) -> u64 {
        self.counts.rows + self.encoder_counts().rows
    }

    /// The next slice's rows.
    pub(crate) fn push(&mut self, rows: Rows, output: &mut dyn Write) -> Result<(), EngineError> {
        match rows {
            Rows::Text { text, counts, cells } => {
                self.blocks.push(&text, output)?;
                self.workshop.give_back_text(text);
                self.count(counts, &cells);
            }
            Rows::Batch { mut batch, cells } => {
                self.count(batch.counts, &cells);
                if let RowsOf::Parquet(parquet) = &mut self.rows {
                    let blocks = &mut self.blocks;
                    let batch = batch.take().map_err(io::Error::other)?;
                    parquet.1.push(batch, &mut |bytes| blocks.push(bytes, output))?;
                }
            }
            Rows::Thinned(columns) => {
                self.resample(&columns, output)?;
                self.workshop.give_back_columns(columns);
            }
        }
        Ok(())
    }

    /// Ends the file.
    pub(crate) fn finish(mut self, output: &mut dyn Write) -> Result<TableTotals, EngineError> {
        let resampling = match self.resampler.take() {
            Some(resampler) => resampler.finish(&mut Resampled { table: &mut self, output })?,
            None => ResampleCounts { cells: std::mem::take(&mut self.cells), ..ResampleCounts::default() },
        };
        self.pass_on(output)?;
        let mut counts = self.counts;
        counts.merge(self.encoder_counts());
        if let RowsOf::Parquet(parquet) = self.rows {
            let blocks = &mut self.blocks;
            parquet.1.finish(&mut |bytes| blocks.push(bytes, output))?;
        }
        Ok(TableTotals { file: self.blocks.finish(output)?, counts, resampling })
    }

    fn count(&mut self, counts: RowCounts, cells: &[u64]) {
        self.counts.merge(counts);
        for (sum, cells) in self.cells.iter_mut().zip(cells) {
            *sum += cells;
        }
    }

    fn encoder_counts(&self) -> RowCounts {
        match &self.rows {
            RowsOf::Csv(rows) => rows.counts,
            RowsOf::Parquet(parquet) => parquet.0.counts,
        }
    }

    fn resample(&mut self, columns: &[Column], output: &mut dyn Write) -> Result<(), EngineError> {
        let Some(mut resampler) = self.resampler.take() else { return Ok(()) };
        let outcome = resampler.push(columns, &mut Resampled { table: self, output });
        self.resampler = Some(resampler);
        outcome
    }

    /// Passes on what resampled rows have become, once it is worth it. A filled gap may be long, so a stop is heard here too.
    fn pass_on_when_full(&mut self, output: &mut dyn Write) -> Result<(), EngineError> {
        let is_full = match &self.rows {
            RowsOf::Csv(rows) => rows.text().len() >= TEXT_BYTES,
            RowsOf::Parquet(parquet) => parquet.0.len() >= BATCH_ROWS,
        };
        if !is_full {
            return Ok(());
        }
        if self.meter.is_stopped() {
            return Err(EngineError::Stopped);
        }
        Ok(self.pass_on(output)?)
    }

    fn pass_on(&mut self, output: &mut dyn Write) -> io::Result<()> {
        let blocks = &mut self.blocks;
        match &mut self.rows {
            RowsOf::Csv(rows) => {
                blocks.push(rows.text(), output)?;
                rows.clear_text();
            }
            RowsOf::Parquet(parquet) => {
                let (rows, file) = &mut **parquet;
                let batch = rows.take().map_err(io::Error::other)?;
                file.push(batch, &mut |bytes| blocks.push(bytes, output))?;
            }
        }
        Ok(())
    }
}

/// Where the resampler's rows go.
struct Resampled<'a, 'w, 'o> {
    table: &'a mut Table<'w>,
    output: &'o mut dyn Write,
}

impl RowOutput for Resampled<'_, '_, '_> {
    fn row<'v>(
        &mut self,
        time_ms: i64,
        cells: impl Iterator<Item = Option<Value<'v>>>,
    ) -> Result<(), EngineError> {
        match &mut self.table.rows {
            RowsOf::Csv(rows) => write_row(time_ms, cells, rows),
            RowsOf::Parquet(parquet) => write_row(time_ms, cells, &mut parquet.0),
        }
        self.table.pass_on_when_full(self.output)
    }
}

fn write_row<'v>(time_ms: i64, cells: impl Iterator<Item = Option<Value<'v>>>, rows: &mut impl RowSink) {
    rows.time(time_ms);
    for (index, cell) in cells.enumerate() {
        match cell {
            Some(value) => rows.cell(index, value),
            None => rows.blank(index),
        }
    }
    rows.end();
}

fn codec(output: &OutputOptions) -> Codec {
    match (output.archive, output.format, output.compression) {
        (Archive::Zip, Format::Csv, _) => Codec::Deflate,
        (Archive::Zip, Format::Parquet, _) => Codec::DeflateStored,
        (Archive::None, Format::Parquet, _) | (Archive::None, Format::Csv, Compression::None) => Codec::Plain,
        (Archive::None, Format::Csv, Compression::Gzip) => Codec::Gzip,
        (Archive::None, Format::Csv, Compression::Zstd) => Codec::Zstd,
    }
}
