//! Rows of CSV: RFC 4180 with LF, as docs/data-format.md promises it to users.
//!
//! Why by hand: the encoder must tell a missing value (nothing) from an empty string (`""`), which the csv crate's
//! writer cannot, and it runs once per cell. The header and everything that reads CSV use the csv crate.

use export_core::Parameter;

use crate::column::Value;
use crate::merge::RowSink;
use crate::time_text::TimeText;

/// What rows amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowCounts {
    pub(crate) rows: u64,
    /// Strings that got a `'` in front.
    pub(crate) guarded: u64,
    pub(crate) first_time_ms: Option<i64>,
    pub(crate) last_time_ms: Option<i64>,
}

impl RowCounts {
    #[inline]
    pub(crate) fn add_row(&mut self, time_ms: i64) {
        self.rows += 1;
        self.first_time_ms.get_or_insert(time_ms);
        self.last_time_ms = Some(time_ms);
    }

    /// Adds those of later rows.
    pub(crate) fn merge(&mut self, later: Self) {
        self.rows += later.rows;
        self.guarded += later.guarded;
        self.first_time_ms = self.first_time_ms.or(later.first_time_ms);
        self.last_time_ms = later.last_time_ms.or(self.last_time_ms);
    }
}

/// Rows as text.
#[derive(Debug)]
pub(crate) struct CsvRows {
    text: Vec<u8>,
    times: TimeText,
    is_guarding: bool,
    pub(crate) counts: RowCounts,
}

impl CsvRows {
    /// Rows that are appended to `text`.
    pub(crate) fn new(text: Vec<u8>, times: TimeText, is_guarding: bool) -> Self {
        Self { text, times, is_guarding, counts: RowCounts::default() }
    }

    /// Bytes written and not yet taken.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Forgets the text that was written, not the counts.
    pub(crate) fn clear_text(&mut self) {
        self.text.clear();
    }

    pub(crate) fn into_text(self) -> Vec<u8> {
        self.text
    }
}

impl RowSink for CsvRows {
    #[inline]
    fn time(&mut self, time_ms: i64) {
        self.counts.add_row(time_ms);
        self.times.write(time_ms, &mut self.text);
    }

    #[inline]
    fn cell(&mut self, _column_index: usize, value: Value<'_>) {
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

/// A value as text without quotes or guard.
#[inline]
pub(crate) fn write_plain(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Value::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        Value::Double(value) => write_double(value, out),
        Value::Number(text) | Value::Text(text) => out.extend_from_slice(text.as_bytes()),
    }
}

/// The header: `time`, then the parameters.
pub(crate) fn header(parameters: &[Parameter]) -> Vec<u8> {
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    let names = std::iter::once("time").chain(parameters.iter().map(Parameter::as_str));
    // Writing to memory cannot fail; an empty header would be seen by every test.
    writer.write_record(names).ok();
    writer.into_inner().unwrap_or_default()
}

/// Below this, doubles hold every integer exactly.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// The shortest text that reads back as the same double, without a useless `.0`.
#[inline]
fn write_double(value: f64, out: &mut Vec<u8>) {
    if let Some(thousandths) = exact_thousandths(value) {
        write_thousandths(thousandths, out);
    } else {
        write_any_double(value, out);
    }
}

/// Above this, a number of thousandths has more digits than any double is sure to keep: 15.
const SURE_THOUSANDTHS: i64 = 1_000_000_000_000_000;

/// The value in thousandths, where it is the double of a decimal with three places at most.
///
/// Sensors give such values. No two decimals of 15 digits have the same double, so this one is also the shortest.
#[inline]
fn exact_thousandths(value: f64) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked by going back; what is too large or NaN fails there"
    )]
    let thousandths = (value * 1_000.0 + 0.5_f64.copysign(value)) as i64;
    #[expect(
        clippy::cast_precision_loss,
        clippy::float_cmp,
        reason = "below 2^53; exactness is the question"
    )]
    let is_exact =
        thousandths.unsigned_abs() < SURE_THOUSANDTHS.unsigned_abs() && thousandths as f64 / 1_000.0 == value;
    is_exact.then_some(thousandths)
}

#[inline]
fn write_thousandths(thousandths: i64, out: &mut Vec<u8>) {
    let (whole, thousandths) = (thousandths / 1_000, thousandths % 1_000);
    if whole == 0 && thousandths < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    let thousandths = thousandths.unsigned_abs();
    #[expect(clippy::cast_possible_truncation, reason = "digits, 0 to 9")]
    let [tenths, hundredths, last] =
        [thousandths / 100, thousandths / 10 % 10, thousandths % 10].map(|digit| b'0' + digit as u8);
    match (tenths, hundredths, last) {
        (b'0', b'0', b'0') => {}
        (_, b'0', b'0') => out.extend_from_slice(&[b'.', tenths]),
        (_, _, b'0') => out.extend_from_slice(&[b'.', tenths, hundredths]),
        _ => out.extend_from_slice(&[b'.', tenths, hundredths, last]),
    }
}

fn write_any_double(value: f64, out: &mut Vec<u8>) {
    if value.fract() == 0.0 && value.abs() < EXACT_INTEGERS {
        #[expect(clippy::cast_possible_truncation, reason = "integral and below 2^53")]
        let integer = value as i64;
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    } else if value.is_finite() {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        match text.split_once('+') {
            // `1.5e+300` is written `1.5e300`.
            Some((digits, exponent)) => {
                out.extend_from_slice(digits.as_bytes());
                out.extend_from_slice(exponent.as_bytes());
            }
            None => out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes()),
        }
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
}

/// Whether a spreadsheet would take the text for a formula.
fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// A string, quoted where RFC 4180 asks for it; the empty string is quoted, so that it differs from a missing value.
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
    use export_core::output::TimeFormat;
    use proptest::prelude::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        write_double(value, &mut out);
        String::from_utf8(out).expect("text")
    }

    fn text(value: &str) -> String {
        let mut out = Vec::new();
        write_text(value, is_formula(value), &mut out);
        String::from_utf8(out).expect("text")
    }

    impl CsvRows {
        pub(crate) fn plain() -> Self {
            Self::new(Vec::new(), TimeText::new(TimeFormat::UnixMs, chrono_tz::Tz::UTC), true)
        }

        pub(crate) fn take_text(&mut self) -> Vec<u8> {
            std::mem::take(&mut self.text)
        }
    }

    #[test]
    fn doubles_as_the_contract_says() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (23.1, "23.1"),
            (-408.3, "-408.3"),
            (602.0, "602"),
            (1_234.567, "1234.567"),
            (0.000_01, "0.00001"),
            (0.000_001, "1e-6"),
            (1e-7, "1e-7"),
            (1.5e300, "1.5e300"),
            (-2.5e-9, "-2.5e-9"),
            (1e15, "1000000000000000"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (9.999_999_999_999_998e15, "9999999999999998"),
            (1e16, "1e16"),
            (1.234e21, "1.234e21"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), expected);
        }
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

    proptest! {
        /// The two ways to write a double agree wherever both are taken.
        #[test]
        fn decimals_are_written_alike(
            digits in -1_100_000_000_000_000_i64..1_100_000_000_000_000, places in 0..5_i32, nudge in -1..=1_i64,
        ) {
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            let value = digits as f64 / 10_f64.powi(places);
            let value = f64::from_bits(value.to_bits().wrapping_add_signed(nudge));
            let mut expected = Vec::new();
            write_any_double(value, &mut expected);
            prop_assert_eq!(double(value), String::from_utf8(expected).expect("text"));
        }

        #[test]
        fn doubles_read_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let read: f64 = double(value).parse().expect("a number");
            // Zero loses its sign on purpose, and a NaN its payload.
            let (read, value) = if value == 0.0 || value.is_nan() { (read.abs(), value.abs()) } else { (read, value) };
            prop_assert!(read.to_bits() == value.to_bits() || (read.is_nan() && value.is_nan()));
        }

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
