//! Parquet: batches of rows in, row groups encoded side by side, bytes out in order.
//!
//! Row groups are cut by the rows alone (their number, and the bytes of their texts), so the file
//! depends neither on how the rows arrive nor on the number of threads.

mod batch;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use export_core::RESULT_FORMAT_VERSION;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::rows::RowCounts;
use super::{EncodedRows, Encoder, FileWriter};
use crate::error::ParquetTooLarge;
use crate::names::TIME;
use crate::pool::Pending;
use crate::read::column::Column;
use crate::resources::Resources;
use crate::shape::Shape;
use batch::{BatchRows, is_numeric, schema};

/// Most bytes of a row group's numbers in memory, and most bytes of its texts.
const GROUP_BYTES: usize = 4 << 20;
/// Most rows of a group, for files with few columns.
const GROUP_ROWS: usize = 128 << 10;
/// Most column chunks of a file, that is, row groups times columns. The footer describes each of
/// them, and is in memory until the end of the file: about 1 KiB for a chunk.
const MAX_CHUNKS: usize = 32 << 10;
/// Rows of a resampled file that are appended to it at once.
const BATCH_ROWS: usize = 8 << 10;
/// Most bytes of numbers of such rows, for files with many columns.
const BATCH_BYTES: usize = 1 << 20;
/// Batches of a group that are joined to one before the group is full. A batch of few rows takes
/// many times the memory of its values.
const JOINED_BATCHES: usize = 32;

/// The Parquet format.
#[derive(Debug)]
pub(crate) struct ParquetEncoder {
    schema: SchemaRef,
    is_text: Vec<bool>,
}

impl ParquetEncoder {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self { schema: schema(&shape.columns, &shape.is_text), is_text: shape.is_text.clone() }
    }
}

impl Encoder for ParquetEncoder {
    type Rows = BatchRows;
    type File<'r> = ParquetFile<'r>;

    fn row_bytes(&self) -> usize {
        // Time and columns, blank or not.
        size_of::<u64>() * (1 + self.is_text.len())
    }

    fn unfit_columns(&self, columns: &[Column]) -> Vec<usize> {
        let is_unfit = |index: &usize| !self.is_text[*index] && !is_numeric(&columns[*index]);
        (0..columns.len()).filter(is_unfit).collect()
    }

    fn rows(&self, _resources: &Resources) -> BatchRows {
        BatchRows::new(&self.schema)
    }

    fn begin_file<'r>(
        &self,
        resources: &'r Resources,
        _compressor: &mut dyn Write,
    ) -> io::Result<ParquetFile<'r>> {
        ParquetFile::begin(&self.schema, resources)
    }
}

impl EncodedRows for BatchRows {
    fn counts(&self) -> RowCounts {
        self.counts
    }

    fn is_full(&self) -> bool {
        self.len() >= BATCH_ROWS || self.len() * self.width() * size_of::<u64>() >= BATCH_BYTES
    }
}

/// A Parquet file being written.
pub(crate) struct ParquetFile<'r> {
    writer: SerializedFileWriter<Vec<u8>>,
    /// By column: makes its writers. A factory of all columns would make the writers of a whole row
    /// group at once, and each takes 100 KiB and more before it has any value.
    columns: Arc<Vec<ColumnFactory>>,
    schema: SchemaRef,
    resources: &'r Resources,
    /// Rows of the group that is being filled.
    batches: Vec<RecordBatch>,
    row_count: usize,
    text_bytes: usize,
    max_rows: usize,
    max_groups: usize,
    group_count: usize,
    in_flight: VecDeque<Pending<Result<Vec<ArrowColumnChunk>, ParquetError>>>,
}

impl<'r> ParquetFile<'r> {
    fn begin(schema: &SchemaRef, resources: &'r Resources) -> io::Result<Self> {
        let column_count = schema.fields().len();
        let (writer, _) =
            writer_of(Arc::clone(schema), EnabledStatistics::Chunk).map_err(io::Error::other)?;
        let columns = schema.fields().iter().map(ColumnFactory::new);
        let columns = columns.collect::<Result<_, ParquetError>>().map_err(io::Error::other)?;
        Ok(Self {
            writer,
            columns: Arc::new(columns),
            schema: Arc::clone(schema),
            resources,
            batches: Vec::new(),
            row_count: 0,
            text_bytes: 0,
            max_rows: (GROUP_BYTES / size_of::<u64>() / column_count).clamp(1, GROUP_ROWS),
            max_groups: MAX_CHUNKS / column_count,
            group_count: 0,
            in_flight: VecDeque::new(),
        })
    }

    fn push(&mut self, mut batch: RecordBatch, compressor: &mut dyn Write) -> io::Result<()> {
        while batch.num_rows() > 0 {
            let fitting = self.fitting_rows(&batch);
            let (now, later) = (batch.slice(0, fitting), batch.slice(fitting, batch.num_rows() - fitting));
            self.text_bytes += text_bytes(&now, fitting);
            self.row_count += fitting;
            if fitting > 0 {
                self.batches.push(now);
            }
            if self.batches.len() == JOINED_BATCHES {
                let joined = concat_batches(&self.schema, &self.batches).map_err(io::Error::other)?;
                self.batches = vec![joined];
            }
            if later.num_rows() > 0 || self.row_count == self.max_rows {
                self.end_group(compressor)?;
            }
            batch = later;
        }
        Ok(())
    }

    /// Rows of the batch that still belong to this group: as many as there is room for. An empty
    /// group takes at least one row.
    fn fitting_rows(&self, batch: &RecordBatch) -> usize {
        let most = batch.num_rows().min(self.max_rows - self.row_count);
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

    fn end_group(&mut self, compressor: &mut dyn Write) -> io::Result<()> {
        if self.group_count == self.max_groups {
            let (columns, max_groups) = (self.schema.fields().len(), self.max_groups);
            return Err(io::Error::other(ParquetTooLarge { columns, max_groups }));
        }
        if self.in_flight.len() >= self.resources.pool.size()
            && let Some(first) = self.in_flight.pop_front()
        {
            self.append_group(first, compressor)?;
        }
        let batches = std::mem::take(&mut self.batches);
        (self.row_count, self.text_bytes) = (0, 0);
        let (columns, index) = (Arc::clone(&self.columns), self.group_count);
        self.group_count += 1;
        let schema = Arc::clone(&self.schema);
        self.in_flight.push_back(self.resources.pool.submit(move || {
            // One batch, however the rows arrived: the writer cuts pages by what it gets at a time.
            let group = concat_batches(&schema, &batches)?;
            drop(batches);
            encode_group(&group, &columns, index)
        }));
        Ok(())
    }

    fn append_group(
        &mut self,
        group: Pending<Result<Vec<ArrowColumnChunk>, ParquetError>>,
        compressor: &mut dyn Write,
    ) -> io::Result<()> {
        let columns = group.wait().map_err(io::Error::other)?;
        let mut writer = self.writer.next_row_group().map_err(io::Error::other)?;
        for column in columns {
            column.append_to_row_group(&mut writer).map_err(io::Error::other)?;
        }
        writer.close().map_err(io::Error::other)?;
        let bytes = self.writer.inner_mut();
        compressor.write_all(bytes)?;
        bytes.clear();
        Ok(())
    }
}

impl FileWriter for ParquetFile<'_> {
    type Rows = BatchRows;

    fn append(&mut self, rows: &mut BatchRows, compressor: &mut dyn Write) -> io::Result<()> {
        let batch = rows.take().map_err(io::Error::other)?;
        self.push(batch, compressor)
    }

    fn finish(mut self, compressor: &mut dyn Write) -> io::Result<()> {
        if self.row_count > 0 {
            self.end_group(compressor)?;
        }
        while let Some(group) = self.in_flight.pop_front() {
            self.append_group(group, compressor)?;
        }
        // The rest is the footer.
        let rest = self.writer.into_inner().map_err(io::Error::other)?;
        compressor.write_all(&rest)
    }
}

/// A writer of files with this schema, and what makes the writers of its columns.
fn writer_of(
    schema: SchemaRef,
    statistics: EnabledStatistics,
) -> Result<(SerializedFileWriter<Vec<u8>>, ArrowRowGroupWriterFactory), ParquetError> {
    let properties = WriterProperties::builder()
        .set_created_by(created_by())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(statistics)
        .set_offset_index_disabled(true)
        // Times rise in small steps.
        .set_column_dictionary_enabled(ColumnPath::from(TIME), false)
        .set_column_encoding(ColumnPath::from(TIME), Encoding::DELTA_BINARY_PACKED)
        .build();
    ArrowWriter::try_new(Vec::new(), schema, Some(properties))?.into_serialized_writer()
}

/// Makes the writers of one column.
struct ColumnFactory {
    usual: ArrowRowGroupWriterFactory,
    /// For a group of doubles with a NaN.
    without_statistics: Option<ArrowRowGroupWriterFactory>,
}

impl ColumnFactory {
    /// Statistics have the smallest and the largest value of a row group. There are none by page,
    /// because the footer stays in memory until the end.
    ///
    /// Those of doubles leave NaN out, as the format demands, and some readers then find no NaN:
    /// `DuckDB` skips the group for `isnan(x)`. A group with a NaN has none. Those of texts help
    /// hardly any filter on telemetry, and take a sixth of the memory of a file with 500 columns.
    fn new(field: &FieldRef) -> Result<Self, ParquetError> {
        let factory = |statistics| {
            let (_, factory) = writer_of(Arc::new(Schema::new(vec![Arc::clone(field)])), statistics)?;
            Ok::<_, ParquetError>(factory)
        };
        let (usual, without_statistics) = match field.data_type() {
            DataType::Utf8 => (factory(EnabledStatistics::None)?, None),
            DataType::Float64 => {
                (factory(EnabledStatistics::Chunk)?, Some(factory(EnabledStatistics::None)?))
            }
            _ => (factory(EnabledStatistics::Chunk)?, None),
        };
        Ok(Self { usual, without_statistics })
    }

    fn writers_for(&self, array: &dyn Array, group: usize) -> Result<Vec<ArrowColumnWriter>, ParquetError> {
        let has_nan = || {
            let doubles = array.as_primitive_opt::<Float64Type>();
            doubles.is_some_and(|doubles| doubles.values().iter().any(|value| value.is_nan()))
        };
        match &self.without_statistics {
            Some(factory) if has_nan() => factory.create_column_writers(group),
            _ => self.usual.create_column_writers(group),
        }
    }
}

/// The writer in the form that parquet-mr reads: Java programs look up known faults of writers by it.
///
/// The number is the version of the result's bytes and not that of the program: the same request
/// gives the same bytes until they change on purpose.
fn created_by() -> String {
    format!("exports version 0.{RESULT_FORMAT_VERSION}.0 (build result-format-{RESULT_FORMAT_VERSION})")
}

/// Encodes a row group, column by column.
fn encode_group(
    group: &RecordBatch,
    factories: &[ColumnFactory],
    index: usize,
) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
    let schema = group.schema();
    let mut chunks = Vec::with_capacity(factories.len());
    for ((field, array), factory) in schema.fields().iter().zip(group.columns()).zip(factories) {
        for (mut writer, leaf) in
            factory.writers_for(array, index)?.into_iter().zip(compute_leaves(field, array)?)
        {
            writer.write(&leaf)?;
            chunks.push(writer.close()?);
        }
    }
    Ok(chunks)
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
