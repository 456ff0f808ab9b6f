//! A Parquet file: batches of rows in, row groups encoded side by side, bytes out in order.
//!
//! Row groups are cut by the rows alone (their number, and the bytes of their texts), so the file depends neither on how the
//! batches come nor on the number of threads.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use arrow_select::concat::concat_batches;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use crate::batch_rows::RowSchema;
use crate::context::Workshop;
use crate::pool::Pending;

/// Most bytes of a row group's numbers in memory, and most of its texts.
const GROUP_BYTES: usize = 4 << 20;
/// Most rows of a group, for files of few columns.
const GROUP_ROWS: usize = 128 << 10;

/// A Parquet file being written.
pub(crate) struct ParquetFile<'w> {
    writer: SerializedFileWriter<Vec<u8>>,
    groups: ArrowRowGroupWriterFactory,
    schema: RowSchema,
    workshop: &'w Workshop,
    /// Rows of the group that is being filled.
    batches: Vec<RecordBatch>,
    row_count: usize,
    text_bytes: usize,
    most_rows: usize,
    group_count: usize,
    in_flight: VecDeque<Pending<Result<Vec<ArrowColumnChunk>, ParquetError>>>,
}

impl<'w> ParquetFile<'w> {
    pub(crate) fn begin(schema: &RowSchema, workshop: &'w Workshop) -> io::Result<Self> {
        let column_count = schema.arrow.fields().len();
        let mut properties = WriterProperties::builder()
            .set_created_by("vehicle-data export service".to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            // The footer is held in memory until the end: by group, not by page.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true);
        // Properties go by name, and a parameter may be called `time` too: this encoding is none for its doubles.
        if schema.arrow.fields().iter().filter(|field| field.name() == "time").count() == 1 {
            // Times rise by small steps.
            properties = properties
                .set_column_dictionary_enabled(ColumnPath::from("time"), false)
                .set_column_encoding(ColumnPath::from("time"), Encoding::DELTA_BINARY_PACKED);
        }
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema.arrow), Some(properties.build()))
            .map_err(io::Error::other)?;
        let (writer, groups) = writer.into_serialized_writer().map_err(io::Error::other)?;
        Ok(Self {
            writer,
            groups,
            schema: schema.clone(),
            workshop,
            batches: Vec::new(),
            row_count: 0,
            text_bytes: 0,
            most_rows: (GROUP_BYTES / size_of::<u64>() / column_count).clamp(1, GROUP_ROWS),
            group_count: 0,
            in_flight: VecDeque::new(),
        })
    }

    /// The next rows. Bytes of the file that are ready go to `output`.
    pub(crate) fn push(
        &mut self,
        mut batch: RecordBatch,
        output: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while batch.num_rows() > 0 {
            let fitting = self.fitting_rows(&batch);
            let (now, later) = (batch.slice(0, fitting), batch.slice(fitting, batch.num_rows() - fitting));
            self.text_bytes += text_bytes(&now, fitting);
            self.row_count += fitting;
            if fitting > 0 {
                self.batches.push(now);
            }
            if later.num_rows() > 0 || self.row_count == self.most_rows {
                self.end_group(output)?;
            }
            batch = later;
        }
        Ok(())
    }

    /// Writes what is left and the footer.
    pub(crate) fn finish(mut self, output: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.row_count > 0 {
            self.end_group(output)?;
        }
        while let Some(group) = self.in_flight.pop_front() {
            self.append(group, output)?;
        }
        let rest = self.writer.into_inner().map_err(io::Error::other)?;
        output(&rest)
    }

    /// Rows of the batch that still belong to this group: as many as there is room for, and at least one of a whole group.
    fn fitting_rows(&self, batch: &RecordBatch) -> usize {
        let most = batch.num_rows().min(self.most_rows - self.row_count);
        let room = GROUP_BYTES.saturating_sub(self.text_bytes);
        if text_bytes(batch, most) <= room {
            return most;
        }
        let (mut fits, mut exceeds) = (0, most);
        while exceeds - fits > 1 {
            let middle = usize::midpoint(fits, exceeds);
            if text_bytes(batch, middle) <= room {
                fits = middle;
            } else {
                exceeds = middle;
            }
        }
        fits.max(usize::from(self.row_count == 0))
    }

    fn end_group(&mut self, output: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.in_flight.len() >= self.workshop.pool.size()
            && let Some(first) = self.in_flight.pop_front()
        {
            self.append(first, output)?;
        }
        let batches = std::mem::take(&mut self.batches);
        (self.row_count, self.text_bytes) = (0, 0);
        let columns = self.groups.create_column_writers(self.group_count).map_err(io::Error::other)?;
        self.group_count += 1;
        let schema = Arc::clone(&self.schema.arrow);
        self.in_flight.push_back(self.workshop.pool.submit(move || {
            // One batch, whatever its pieces were: pages are cut by what is written at a time.
            let group = concat_batches(&schema, &batches)?;
            drop(batches);
            encode_group(&group, columns)
        }));
        Ok(())
    }

    fn append(
        &mut self,
        group: Pending<Result<Vec<ArrowColumnChunk>, ParquetError>>,
        output: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let columns = group.wait().map_err(io::Error::other)?;
        let mut writer = self.writer.next_row_group().map_err(io::Error::other)?;
        for column in columns {
            column.append_to_row_group(&mut writer).map_err(io::Error::other)?;
        }
        writer.close().map_err(io::Error::other)?;
        let bytes = self.writer.inner_mut();
        output(bytes)?;
        bytes.clear();
        Ok(())
    }
}

fn encode_group(
    group: &RecordBatch,
    writers: Vec<ArrowColumnWriter>,
) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
    let schema = group.schema();
    let columns = schema.fields().iter().zip(group.columns()).zip(writers);
    columns
        .map(|((field, array), mut writer)| {
            for leaf in compute_leaves(field, array)? {
                writer.write(&leaf)?;
            }
            writer.close()
        })
        .collect()
}

/// Bytes of the texts in the first rows of a batch.
fn text_bytes(batch: &RecordBatch, row_count: usize) -> usize {
    let texts = batch.columns().iter().filter(|column| column.data_type() == &DataType::Utf8);
    texts
        .map(|column| {
            let offsets = column.as_string::<i32>().value_offsets();
            usize::try_from(offsets[row_count] - offsets[0]).unwrap_or(0)
        })
        .sum()
}
