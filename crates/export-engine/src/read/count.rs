//! Counts the points of a document, apart from the decoding.
//!
//! The manifest says that every point found is in the file or has a reason why it is not. That is a
//! proof only if the points are found by other code than the code that exports them: this walk
//! shares nothing with [`decode`](super::bucket::decode), not even the lengths of BSON values. If
//! one of the two passes over a field, an element or a bucket, the counts differ and the export
//! fails.

use super::samples::Inside;

/// Nesting of buckets above which points are not counted, since every level takes some stack.
/// MongoDB stores no document with half of it.
const MAX_COUNTED_DEPTH: usize = 400;

/// Counts the points of a document.
pub(crate) fn points_of_document(document: &[u8]) -> Inside {
    let mut count = Count::default();
    let fields = count.fields(document, 0);
    // The document is a bucket by definition, so every field `values` of it counts.
    count.points += fields.strays;
    count.result()
}

/// Counts the points of a child of a bucket that is this deep.
pub(crate) fn points_of_child(child: &[u8], depth: usize) -> Inside {
    let mut count = Count::default();
    count.child_document(child, depth);
    count.result()
}

#[derive(Default)]
struct Count {
    points: u64,
    /// Whether a document, a bucket or a `values` cannot be read to its end.
    is_cut: bool,
}

/// What a document has under the name `values`.
#[derive(Default)]
struct ValuesFields {
    /// Documents and arrays.
    holders: u64,
    /// Anything else.
    strays: u64,
    is_whole: bool,
}

impl Count {
    fn result(&self) -> Inside {
        Inside { points: self.points, uncounted: u64::from(self.is_cut) }
    }

    /// Counts the children of each `values`.
    fn fields(&mut self, document: &[u8], depth: usize) -> ValuesFields {
        let mut fields = ValuesFields::default();
        fields.is_whole = for_each_element(document, |kind, name, value| {
            if name == b"values" {
                if kind == 0x03 || kind == 0x04 {
                    fields.holders += 1;
                    self.children(value, depth);
                } else {
                    fields.strays += 1;
                }
            }
        });
        self.is_cut |= !fields.is_whole;
        fields
    }

    fn children(&mut self, values: &[u8], depth: usize) {
        let is_whole = for_each_element(values, |kind, _, value| {
            if kind == 0x03 {
                self.child_document(value, depth);
            } else {
                self.points += 1;
            }
        });
        self.is_cut |= !is_whole;
    }

    /// A bucket if it has a document or an array called `values`, else one point.
    fn child_document(&mut self, child: &[u8], depth: usize) {
        if depth == MAX_COUNTED_DEPTH {
            self.is_cut = true;
            return;
        }
        let fields = self.fields(child, depth + 1);
        if fields.holders > 0 {
            self.points += fields.strays;
        } else {
            self.points += u64::from(fields.is_whole);
        }
    }
}

/// Calls `each` with the type, the name and the value of every element, up to the first one that
/// cannot be read. Returns whether there was none.
#[inline]
fn for_each_element<'a>(document: &'a [u8], mut each: impl FnMut(u8, &'a [u8], &'a [u8])) -> bool {
    let Some((length, [elements @ .., 0])) = document.split_first_chunk::<4>() else { return false };
    if usize::try_from(u32::from_le_bytes(*length)) != Ok(document.len()) {
        return false;
    }
    let mut rest = elements;
    while let [kind, after_kind @ ..] = rest {
        let Some(name_bytes) = after_kind.iter().position(|byte| *byte == 0) else { return false };
        let (name, value) = (&after_kind[..name_bytes], &after_kind[name_bytes + 1..]);
        let Some((value, after)) =
            bytes_of_value(*kind, value).and_then(|bytes| value.split_at_checked(bytes))
        else {
            return false;
        };
        each(*kind, name, value);
        rest = after;
    }
    true
}

/// The length of a value, from the table of the BSON specification.
#[inline]
fn bytes_of_value(kind: u8, value: &[u8]) -> Option<usize> {
    let stated = || {
        let length = value.first_chunk::<4>().map(|length| i32::from_le_bytes(*length))?;
        usize::try_from(length).ok()
    };
    match kind {
        // double, UTC datetime, timestamp, int64
        0x01 | 0x09 | 0x11 | 0x12 => Some(8),
        // int32
        0x10 => Some(4),
        // string, code, symbol
        0x02 | 0x0d | 0x0e => Some(stated()? + 4),
        // document, array, code with scope: the length includes itself
        0x03 | 0x04 | 0x0f => stated().filter(|length| *length >= 5),
        // binary
        0x05 => Some(stated()? + 5),
        // undefined, null, max key, min key
        0x06 | 0x0a | 0x7f | 0xff => Some(0),
        // ObjectId, boolean, Decimal128
        0x07 => Some(12),
        0x08 => Some(1),
        0x13 => Some(16),
        // DBPointer
        0x0c => Some(stated()? + 4 + 12),
        // regular expression: two C strings
        0x0b => {
            let mut ends = value.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at + 1);
            ends.nth(1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    fn count(document: &Document) -> u64 {
        let inside = points_of_document(&document.to_vec().expect("BSON"));
        assert_eq!(inside.uncounted, 0);
        inside.points
    }

    #[test]
    fn points_are_all_children_that_are_not_buckets() {
        assert_eq!(count(&doc! { "_id": 1, "count": 7 }), 0);
        assert_eq!(count(&doc! { "values": 7 }), 1);
        assert_eq!(count(&doc! { "values": { "1": 1, "x": [1, 2], "3": { "values": 5 }, "4": {} } }), 4);
        let buckets =
            doc! { "values": { "0": { "n": 3, "values": { "1": 1, "2": 2 } }, "1": { "values": {} } } };
        assert_eq!(count(&buckets), 2);
        assert_eq!(count(&doc! { "values": [1, { "values": [1, 2] }, { "values": {} }, []] }), 4);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let whole =
            doc! { "values": { "0": { "values": { "1": 1, "2": 2 } }, "1": 1 } }.to_vec().expect("BSON");
        assert_eq!(points_of_document(&whole), Inside { points: 3, uncounted: 0 });
        let mut broken = whole.clone();
        let at = broken.windows(3).position(|element| element == b"\x102\0").expect("the second point");
        broken[at] = 0x55;
        assert_eq!(points_of_document(&broken), Inside { points: 2, uncounted: 1 });
        for length in 0..whole.len() {
            assert_eq!(points_of_document(&whole[..length]), Inside { points: 0, uncounted: 1 });
        }
    }
}
