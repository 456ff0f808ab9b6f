//! CSV: RFC 4180 with LF, as docs/data-format.md describes it to users.
//!
//! Written by hand because the encoder must distinguish a missing value (nothing) from an empty
//! string (`""`), which the writer of the csv crate cannot, and because it runs for every cell. The
//! header uses the csv crate.

use std::io::{self, Write};

use chrono_tz::Tz;
use export_core::Parameter;
use export_core::output::{CsvGuard, TimeFormat};

use super::number::write_plain;
use super::rows::{RowCounts, RowSink};
use super::time_text::TimeText;
use super::{EncodedRows, Encoder, FileWriter};
use crate::read::column::Value;
use crate::resources::Resources;
use crate::shape::Shape;

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
            header: header(&shape.parameters),
            column_count: shape.parameters.len(),
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
                let is_guarded = self.is_guarding && is_formula(text);
                self.counts.guarded += u64::from(is_guarded);
                write_text(text, is_guarded, &mut self.text);
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

/// The header: `time`, then the parameters.
fn header(parameters: &[Parameter]) -> Vec<u8> {
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    let names = std::iter::once("time").chain(parameters.iter().map(Parameter::as_str));
    // Writing to memory cannot fail, and an empty header would fail every test.
    writer.write_record(names).ok();
    writer.into_inner().unwrap_or_default()
}

/// Whether a spreadsheet would take the text for a formula.
fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// Appends a string, quoted where RFC 4180 asks for it. The empty string is quoted, so that it
/// differs from a missing value.
fn write_text(text: &str, is_guarded: bool, out: &mut Vec<u8>) {
    let needs_quotes = text.is_empty() || text.contains([',', '"', '\n', '\r']);
    if needs_quotes {
        out.push(b'"');
    }
    if is_guarded {
        out.push(b'\'');
    }
    if needs_quotes {
        for byte in text.bytes() {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> String {
        let mut out = Vec::new();
        write_text(value, is_formula(value), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn strings_are_quoted_where_needed_and_guarded() {
        for (value, expected) in [
            ("", "\"\""),
            ("52.1|4.3", "52.1|4.3"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("a\nb", "\"a\nb\""),
            ("=1+1", "'=1+1"),
            ("-5", "'-5"),
            ("@x,y", "\"'@x,y\""),
            ("\rx", "\"'\rx\""),
            ("\tx", "'\tx"),
            (" x", " x"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn headers_quote_odd_names() {
        let parameters: Vec<Parameter> =
            ["soc", "a,b", "say \"hi\""].iter().map(|name| name.parse().expect("a name")).collect();
        assert_eq!(
            String::from_utf8(header(&parameters)).expect("text"),
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

    proptest! {
        #[test]
        fn csv_reads_strings_back(value in "[^=+\\-@\t\r].*|") {
            let mut line = b"x,".to_vec();
            line.extend_from_slice(text(&value).as_bytes());
            line.push(b'\n');
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_slice());
            let record = reader.records().next().expect("a record").expect("valid CSV");
            prop_assert_eq!(&record[1], value.as_str());
        }
    }
}
