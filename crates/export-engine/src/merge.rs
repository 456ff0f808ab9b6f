//! Aligns the columns of one slice by time: one row per distinct time, ascending.

use crate::column::Column;
use crate::row::RowEncoder;

/// Writes the rows of settled columns.
///
/// The heads are compared one by one: simple, and a vehicle has a handful of columns.
pub(crate) fn merge(columns: &[Column], encoder: &mut RowEncoder, out: &mut Vec<u8>) {
    let mut positions = vec![0_usize; columns.len()];
    // The time of each column's next point; `None` for a column at its end.
    let mut heads: Vec<Option<i64>> = columns.iter().map(|column| column.times().first().copied()).collect();
    while let Some(time_ms) = heads.iter().flatten().min().copied() {
        encoder.time(time_ms, out);
        for (index, column) in columns.iter().enumerate() {
            if heads[index] == Some(time_ms) {
                let position = positions[index];
                encoder.cell(index, column, column.cell(position), out);
                positions[index] = position + 1;
                heads[index] = column.times().get(position + 1).copied();
            } else {
                RowEncoder::blank(out);
            }
        }
        RowEncoder::end(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Cell;

    fn column(points: &[(i64, i64)]) -> Column {
        let mut column = Column::default();
        for (time_ms, value) in points {
            column.push(*time_ms, Cell::Int(*value));
        }
        column
    }

    #[test]
    fn equal_times_share_a_row() {
        let columns = [column(&[(1, 10), (3, 30)]), column(&[]), column(&[(-2, 5), (3, 31), (4, 0)])];
        let mut encoder = RowEncoder::new(columns.len());
        let mut out = Vec::new();
        merge(&columns, &mut encoder, &mut out);
        assert_eq!(String::from_utf8(out).expect("text"), "-2,,,5\n1,10,,\n3,30,,31\n4,,,0\n");
        assert_eq!((encoder.rows, encoder.cells), (4, vec![2, 0, 3]));
        assert_eq!((encoder.first_time_ms, encoder.last_time_ms), (Some(-2), Some(4)));
    }
}
