//! Points of an hour, one slice per column → CSV rows by time.

use crate::walk::Point;

/// Maximum number of columns besides the time: the heads of all are compared at once.
pub(crate) const MAX_COLUMNS: usize = 8;
/// Longest text of a row: the time, and per column a comma and a value, each written in steps of
/// eight bytes.
pub(crate) const MAX_ROW_BYTES: usize = 512;
/// Marks the end of a column's points.
const END: i32 = i32::MAX;
const INT32: u8 = 0x10;
const INT64: u8 = 0x12;
/// Digits of a time that change within about an hour, and their weights.
const LOW_DIGITS: i64 = 100_000_000;
/// Up to here a double with three decimals is exact in this arithmetic: 15 digits.
const MAX_THOUSANDTHS: f64 = 1e15;

/// Writes rows; holds lookup tables.
#[derive(Debug)]
pub(crate) struct RowWriter {
    /// `.125` and its number of significant bytes, for each thousandth.
    fractions: Vec<([u8; 4], u8)>,
}

/// The output of an hour.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) bytes: usize,
}

impl RowWriter {
    pub(crate) fn new() -> Self {
        let fractions = (0..1000_u32).map(|thousandths| {
            let text = format!(".{thousandths:03}");
            let kept = if thousandths == 0 { 0 } else { text.trim_end_matches('0').len() };
            let bytes = *text.as_bytes().first_chunk::<4>().expect("four bytes");
            (bytes, u8::try_from(kept).expect("at most four"))
        });
        Self { fractions: fractions.collect() }
    }

    /// Writes the hour's rows to the start of `text`, which has [`MAX_ROW_BYTES`] for every point.
    pub(crate) fn write(&self, start_ms: i64, columns: &[Vec<Point>], text: &mut [u8]) -> Written {
        let mut rest: [&[Point]; MAX_COLUMNS] = [&[]; MAX_COLUMNS];
        let mut heads = [END; MAX_COLUMNS];
        for ((rest, head), column) in rest.iter_mut().zip(&mut heads).zip(columns) {
            *rest = column;
            *head = column.first().map_or(END, |point| point.offset_ms);
        }
        let mut high = Time::of(start_ms / LOW_DIGITS);
        let mut written = Written::default();
        loop {
            let offset_ms = heads.iter().copied().fold(END, i32::min);
            if offset_ms == END {
                return written;
            }
            let mut filled = heads
                .iter()
                .enumerate()
                .fold(0_u32, |filled, (column, head)| filled | (u32::from(*head == offset_ms) << column));
            let row = text[written.bytes..].first_chunk_mut::<MAX_ROW_BYTES>().expect("room for every row");
            let mut end = high.write(start_ms + i64::from(offset_ms), row);
            let mut commas = 0;
            while filled != 0 {
                let column = filled.trailing_zeros() as usize;
                filled &= filled - 1;
                row[end..end + 8].copy_from_slice(b",,,,,,,,");
                end += column + 1 - commas;
                commas = column + 1;
                let column_rest = &mut rest[column % MAX_COLUMNS];
                let (point, next) = column_rest.split_first().expect("a head has a point");
                heads[column % MAX_COLUMNS] = next.first().map_or(END, |point| point.offset_ms);
                *column_rest = next;
                end = self.value(point, row, end);
            }
            row[end..end + 8].copy_from_slice(b",,,,,,,,");
            end += columns.len() - commas;
            row[end] = b'\n';
            written.bytes += end + 1;
            written.rows += 1;
        }
    }

    /// Writes a value's text at `at` and returns where it ends.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and small"
    )]
    fn value(&self, point: &Point, row: &mut [u8; MAX_ROW_BYTES], at: usize) -> usize {
        let (is_negative, whole, thousandths) = match point.kind {
            INT32 => (
                (point.bits as u32).cast_signed() < 0,
                u64::from((point.bits as u32).cast_signed().unsigned_abs()),
                0,
            ),
            INT64 => (point.bits.cast_signed() < 0, point.bits.cast_signed().unsigned_abs(), 0),
            _ => {
                let value = f64::from_bits(point.bits);
                let scaled = (value.abs() * 1000.0 + 0.5).floor();
                // No two decimals of at most 15 digits are the same double, so this one is the
                // shortest.
                #[expect(clippy::float_cmp, reason = "exactly this double is asked for")]
                let is_exact = scaled < MAX_THOUSANDTHS && scaled / 1000.0 == value.abs();
                if !is_exact {
                    return general(value, row, at);
                }
                let scaled = scaled as u64;
                (value < 0.0, scaled / 1000, (scaled % 1000) as usize)
            }
        };
        row[at] = b'-';
        let end = whole_number(whole, row, at + usize::from(is_negative));
        let (fraction, kept) = self.fractions[thousandths];
        row[end..end + 4].copy_from_slice(&fraction);
        end + usize::from(kept)
    }
}

/// Any double, by the standard library: clean data have none of these.
#[cold]
fn general(value: f64, row: &mut [u8], at: usize) -> usize {
    let text = value.to_string();
    row[at..at + text.len()].copy_from_slice(text.as_bytes());
    at + text.len()
}

fn whole_number(number: u64, row: &mut [u8; MAX_ROW_BYTES], at: usize) -> usize {
    if number < LOW_DIGITS.cast_unsigned() {
        let digits = eight_digits(number);
        // The last digit is kept, also for 0.
        let zeros = ((digits | (1 << 56)).trailing_zeros() / 8) as usize;
        let text = ((digits | 0x3030_3030_3030_3030) >> (zeros * 8)).to_le_bytes();
        row[at..at + 8].copy_from_slice(&text);
        at + 8 - zeros
    } else {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(number).as_bytes();
        row[at..at + text.len()].copy_from_slice(text);
        at + text.len()
    }
}

/// Eight digits as bytes 0 to 9, the first one lowest.
fn eight_digits(number: u64) -> u64 {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((pairs - tens * 10) << 8)
}

/// The leading digits of the current times, as text.
#[derive(Debug)]
struct Time {
    high: i64,
    text: [u8; 8],
    length: usize,
}

impl Time {
    fn of(high: i64) -> Self {
        let digits = high.to_string();
        let mut text = [0; 8];
        text[..digits.len()].copy_from_slice(digits.as_bytes());
        Self { high, text, length: digits.len() }
    }

    /// Writes the time at the start of a row and returns where it ends.
    fn write(&mut self, time_ms: i64, row: &mut [u8; MAX_ROW_BYTES]) -> usize {
        let low = time_ms - self.high * LOW_DIGITS;
        if low >= LOW_DIGITS {
            *self = Self::of(time_ms / LOW_DIGITS);
            return self.write(time_ms, row);
        }
        let digits = eight_digits(low.cast_unsigned()) | 0x3030_3030_3030_3030;
        row[..8].copy_from_slice(&self.text);
        row[self.length..self.length + 8].copy_from_slice(&digits.to_le_bytes());
        self.length + 8
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_ROW_BYTES, RowWriter};
    use crate::walk::Point;

    const DOUBLE: u8 = 0x01;
    const START_MS: i64 = 1_543_536_000_000;

    fn text(columns: &[Vec<Point>]) -> String {
        let points: usize = columns.iter().map(Vec::len).sum();
        let mut text = vec![0; (points + 1) * MAX_ROW_BYTES];
        let written = RowWriter::new().write(START_MS, columns, &mut text);
        text.truncate(written.bytes);
        String::from_utf8(text).expect("ASCII")
    }

    #[test]
    fn columns_are_aligned_by_time() {
        let at = |offset_ms, value: u64| Point { offset_ms, kind: super::INT64, bits: value };
        let columns = [vec![at(5, 1), at(7, 2)], vec![], vec![at(6, 3), at(7, 0)]];
        assert_eq!(text(&columns), "1543536000005,1,,\n1543536000006,,,3\n1543536000007,2,,0\n");
    }

    #[test]
    fn numbers_have_their_shortest_text() {
        let minus_five = (-5_i32).cast_unsigned();
        let int32 =
            Point { offset_ms: 0, kind: super::INT32, bits: 0xffff_ffff_0000_0000 | u64::from(minus_five) };
        assert_eq!(text(&[vec![int32]]), "1543536000000,-5\n");
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (45.0, "45"),
            (-408.3, "-408.3"),
            (0.1, "0.1"),
            (1131.889, "1131.889"),
            (-0.05, "-0.05"),
            (99_999_999.0, "99999999"),
            (123_456_789_012.5, "123456789012.5"),
            (0.1 + 0.2, "0.30000000000000004"),
        ] {
            let point = Point { offset_ms: 0, kind: DOUBLE, bits: f64::to_bits(value) };
            assert_eq!(text(&[vec![point]]), format!("1543536000000,{expected}\n"));
        }
    }

    #[test]
    fn the_leading_digits_of_the_time_change_within_an_hour() {
        let high_ms = super::LOW_DIGITS * 15_436;
        let at = |offset_ms| Point { offset_ms, kind: super::INT64, bits: 1 };
        let mut text = [0; 4 * MAX_ROW_BYTES];
        let written = RowWriter::new().write(high_ms - 5, &[vec![at(4), at(5)]], &mut text);
        assert_eq!(&text[..written.bytes], b"1543599999999,1\n1543600000000,1\n");
    }
}
