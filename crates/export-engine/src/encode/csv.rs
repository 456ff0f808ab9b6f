//! CSV: RFC 4180 with LF, as docs/data-format.md describes it to users.
//!
//! Written by hand because the encoder must distinguish a missing value (nothing) from an empty
//! string (`""`), which the writer of the csv crate cannot, and because it runs for every cell.

pub(crate) mod text;

use std::io::{self, Write};

use chrono_tz::Tz;
use export_core::output::{CsvGuard, TimeFormat};

use super::number::write_plain;
use super::rows::{RowCounts, RowSink};
use super::time_text::TimeText;
use super::{EncodedRows, Encoder, FileWriter};
use crate::names::TIME;
use crate::read::column::Value;
use crate::resources::Resources;
use crate::shape::Shape;
use text::write_text;

/// Resampled rows are appended to the file when their text has this many bytes.
const TEXT_BYTES: usize = 64 << 10;

/// The CSV format.
#[derive(Debug)]
pub(crate) struct CsvEncoder {
    header: Vec<u8>,
    column_count: usize,
    time_format: TimeFormat,
    timezone: Tz,
    is_guarding: bool,
}

impl CsvEncoder {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self {
            header: header(&shape.columns),
            column_count: shape.columns.len(),
            time_format: shape.options.time_format,
            timezone: shape.timezone,
            is_guarding: shape.options.csv_guard == CsvGuard::On,
        }
    }
}

impl Encoder for CsvEncoder {
    type Rows = CsvRows;
    type File<'r> = CsvFile;

    fn row_bytes(&self) -> usize {
        // Time and value, and a comma for each column.
        24 + self.column_count
    }

    fn rows(&self, resources: &Resources) -> CsvRows {
        let times = TimeText::new(self.time_format, self.timezone);
        CsvRows::new(resources.text(), times, self.is_guarding)
    }

    fn begin_file(&self, _resources: &Resources, compressor: &mut dyn Write) -> io::Result<CsvFile> {
        compressor.write_all(&self.header)?;
        Ok(CsvFile)
    }
}

/// A CSV being written: text behind text, so there is nothing to keep.
#[derive(Debug)]
pub(crate) struct CsvFile;

impl FileWriter for CsvFile {
    type Rows = CsvRows;

    fn append(&mut self, rows: &mut CsvRows, compressor: &mut dyn Write) -> io::Result<()> {
        compressor.write_all(&rows.text)?;
        rows.text.clear();
        Ok(())
    }

    fn finish(self, _compressor: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// Rows as text.
#[derive(Debug)]
pub(crate) struct CsvRows {
    text: Vec<u8>,
    times: TimeText,
    is_guarding: bool,
    counts: RowCounts,
}

impl CsvRows {
    /// Rows that are appended to `text`.
    fn new(text: Vec<u8>, times: TimeText, is_guarding: bool) -> Self {
        Self { text, times, is_guarding, counts: RowCounts::default() }
    }
}

impl EncodedRows for CsvRows {
    fn counts(&self) -> RowCounts {
        self.counts
    }

    fn is_full(&self) -> bool {
        self.text.len() >= TEXT_BYTES
    }

    fn recycle(self, resources: &Resources) {
        resources.give_back_text(self.text);
    }
}

impl RowSink for CsvRows {
    #[inline]
    fn time(&mut self, time_ms: i64) {
        self.counts.add_row(time_ms);
        self.times.write(time_ms, &mut self.text);
    }

    #[inline]
    fn cell(&mut self, _column_index: usize, value: Value<&str>) {
        self.text.push(b',');
        match value {
            Value::Text(text) => {
                let written = write_text(text, self.is_guarding, &mut self.text);
                self.counts.guarded += u64::from(written.is_guarded);
                self.counts.replaced += u64::from(written.is_replaced);
            }
            other => write_plain(other, &mut self.text),
        }
    }

    #[inline]
    fn blank(&mut self, _column_index: usize) {
        self.text.push(b',');
    }

    #[inline]
    fn end(&mut self) {
        self.text.push(b'\n');
    }
}

/// The header: `time`, then the columns.
fn header(columns: &[String]) -> Vec<u8> {
    let mut header = TIME.as_bytes().to_vec();
    for column in columns {
        header.push(b',');
        // The guard is a part of the columns' names.
        write_text(column, false, &mut header);
    }
    header.push(b'\n');
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_quote_odd_names() {
        let columns = ["soc", "a,b", "say \"hi\""].map(str::to_owned);
        assert_eq!(
            String::from_utf8(header(&columns)).expect("text"),
            "time,soc,\"a,b\",\"say \"\"hi\"\"\"\n"
        );
        assert_eq!(header(&[]), b"time\n");
    }

    #[test]
    fn rows_are_text_with_commas_for_blanks() {
        let mut rows = CsvRows::new(Vec::new(), TimeText::new(TimeFormat::UnixMs, Tz::UTC), true);
        rows.time(1);
        rows.blank(0);
        rows.cell(1, Value::Text("=1"));
        rows.cell(2, Value::Double(-408.3));
        rows.end();
        let mut file = Vec::new();
        CsvFile.append(&mut rows, &mut file).expect("room");
        assert_eq!(String::from_utf8(file).expect("text"), "1,,'=1,-408.3\n");
        assert!(rows.text.is_empty());
        assert_eq!((rows.counts().rows, rows.counts().guarded), (1, 1));
    }
}
