//! From one hour document to its points, by structure alone: `levels` is never read.

use std::str::FromStr;

use bson::{Bson, Decimal128};

use super::stored::{Fields, Stored};

const HOUR_MS: i64 = 3_600_000;

/// Maximum depth of buckets, not counting that of the document itself; a deeper one is rejected.
const MOST_BUCKETS: usize = 100;

/// Longest text of a cell, in bytes.
const MOST_TEXT_BYTES: usize = 1_048_576;

/// An item found in a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entry<'a> {
    /// A point: its time in unix milliseconds, and its value.
    Point(i64, &'a Bson),
    /// An invalid point: the reason, and the keys from `values` to it.
    Rejected(&'static str, String),
    /// A bucket that cannot be read, or not to its end: the reason, the keys from `values` to it,
    /// and what is in it.
    Bucket(&'static str, String, Inside),
}

/// The points in something that is rejected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Inside {
    /// Those found.
    pub(super) points: u64,
    /// Whether there may be more.
    pub(super) is_cut: bool,
}

/// A position in the order of paths, step by step: the field `values`, the key, and the position
/// among its siblings.
type PathOrder = Vec<(usize, i64, usize)>;

/// Everything in the document that starts at `hour_ms`, as stored; but the points come last, in the
/// order of their paths. The error is the reason why the whole document is rejected.
pub(super) fn entries(document: &Fields, hour_ms: i64) -> Result<Vec<Entry<'_>>, &'static str> {
    if !has_values(document) {
        return Err(if document.is_whole { "missingValues" } else { "malformed" });
    }
    let mut found = Found { hour_ms, entries: Vec::new(), points: Vec::new() };
    found.bucket(document, Some(0), &Path::default());
    let Found { mut entries, mut points, .. } = found;
    points.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries.extend(points.into_iter().map(|(_, point)| point));
    Ok(entries)
}

/// The points of a document that is rejected.
pub(super) fn inside(document: Option<&Fields>) -> Inside {
    let Some(document) = document else { return Inside { points: 0, is_cut: true } };
    let strays = document.named("values").filter(|values| is_stray(values)).count();
    let mut inside = inside_bucket(document);
    if !has_values(document) {
        inside.points += strays as u64;
    }
    inside
}

/// Where the walk is.
#[derive(Clone, Default)]
struct Path {
    keys: Vec<String>,
    order: PathOrder,
}

impl Path {
    fn and(&self, key: String, step: (usize, i64, usize)) -> Self {
        let mut path = self.clone();
        path.keys.push(key);
        path.order.push(step);
        path
    }

    fn text(&self) -> String {
        /// Longer paths are cut.
        const MOST_CHARACTERS: usize = 200;
        self.keys.join("/").chars().take(MOST_CHARACTERS).collect()
    }
}

struct Found<'a> {
    hour_ms: i64,
    entries: Vec<Entry<'a>>,
    points: Vec<(PathOrder, Entry<'a>)>,
}

impl<'a> Found<'a> {
    /// `offset_ms` is the sum of the keys so far, or `None` below a key that is not a number or a
    /// sum beyond 64 bits.
    fn bucket(&mut self, bucket: &'a Fields, offset_ms: Option<i64>, path: &Path) {
        for (number, values) in bucket.named("values").enumerate() {
            match values_in(values) {
                Values::Stray => self.entries.push(Entry::Rejected("notABucket", path.text())),
                Values::Broken => self.cut(path),
                Values::Children(is_array, values) => {
                    for (index, (key, child)) in values.elements.iter().enumerate() {
                        let key = if is_array { index.to_string() } else { key.clone() };
                        let milliseconds = self::number(&key);
                        let offset_ms =
                            offset_ms.zip(milliseconds).and_then(|(sum, key)| sum.checked_add(key));
                        let path = path.and(key, (number, milliseconds.unwrap_or(0), index));
                        self.child(child, offset_ms, &path);
                    }
                    if !values.is_whole {
                        self.cut(path);
                    }
                }
            }
        }
        if !bucket.is_whole {
            self.cut(path);
        }
    }

    fn cut(&mut self, path: &Path) {
        self.entries.push(Entry::Bucket("malformed", path.text(), Inside { points: 0, is_cut: true }));
    }

    fn child(&mut self, child: &'a Stored, offset_ms: Option<i64>, path: &Path) {
        match child {
            Stored::Document(None) => self.cut(path),
            Stored::Document(Some(fields)) if has_values(fields) && path.keys.len() > MOST_BUCKETS => {
                self.entries.push(Entry::Bucket("tooDeep", path.text(), inside_bucket(fields)));
            }
            Stored::Document(Some(fields)) if has_values(fields) => self.bucket(fields, offset_ms, path),
            Stored::Document(Some(fields)) if !fields.is_whole => self.cut(path),
            point => match self.point(point, offset_ms) {
                Ok(point) => self.points.push((path.order.clone(), point)),
                Err(reason) => self.entries.push(Entry::Rejected(reason, path.text())),
            },
        }
    }

    /// The order of the checks decides which reason is counted.
    fn point(&self, point: &'a Stored, offset_ms: Option<i64>) -> Result<Entry<'a>, &'static str> {
        let Some(offset_ms) = offset_ms else { return Err("invalidKey") };
        let value = match point {
            Stored::Document(_) => return Err("documentValue"),
            Stored::Array(_) | Stored::Other(_) => return Err("unsupportedType"),
            Stored::Invalid(_) => return Err("invalidValue"),
            Stored::Value(Bson::String(text)) if text.len() > MOST_TEXT_BYTES => return Err("textTooLong"),
            Stored::Value(value) => value,
        };
        if !(0..HOUR_MS).contains(&offset_ms) {
            return Err("outsideHour");
        }
        let time_ms = self.hour_ms.checked_add(offset_ms).ok_or("invalidKey")?;
        Ok(Entry::Point(time_ms, value))
    }
}

/// What a field `values` is.
enum Values<'a> {
    /// Children, and whether their keys are positions.
    Children(bool, &'a Fields),
    /// A document or an array whose length or closing byte is wrong.
    Broken,
    /// By its type, it holds no children.
    Stray,
}

fn values_in(field: &Stored) -> Values<'_> {
    match field {
        Stored::Document(Some(children)) => Values::Children(false, children),
        Stored::Array(Some(children)) => Values::Children(true, children),
        Stored::Document(None) | Stored::Array(None) => Values::Broken,
        _ => Values::Stray,
    }
}

fn is_stray(field: &Stored) -> bool {
    matches!(values_in(field), Values::Stray)
}

fn has_values(fields: &Fields) -> bool {
    fields.named("values").any(|values| !is_stray(values))
}

/// The points in a bucket, however deep.
fn inside_bucket(bucket: &Fields) -> Inside {
    let mut inside = Inside { points: 0, is_cut: !bucket.is_whole };
    let holds_points = has_values(bucket);
    for values in bucket.named("values") {
        match values_in(values) {
            Values::Stray => inside.points += u64::from(holds_points),
            Values::Broken => inside.is_cut = true,
            Values::Children(_, values) => {
                inside.is_cut |= !values.is_whole;
                for (_, child) in &values.elements {
                    let child = match child {
                        Stored::Document(None) => Inside { points: 0, is_cut: true },
                        Stored::Document(Some(fields)) if has_values(fields) => inside_bucket(fields),
                        Stored::Document(Some(fields)) if !fields.is_whole => {
                            Inside { points: 0, is_cut: true }
                        }
                        _ => Inside { points: 1, is_cut: false },
                    };
                    inside.points += child.points;
                    inside.is_cut |= child.is_cut;
                }
            }
        }
    }
    inside
}

/// A key as milliseconds: digits, possibly after a minus, that fit in 64 bits.
fn number(key: &str) -> Option<i64> {
    let digits = key.strip_prefix('-').unwrap_or(key);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { key.parse().ok() } else { None }
}

/// An `_id` that is a whole number of milliseconds that fits in 64 bits.
pub(super) fn integral(id: &Bson) -> Option<i64> {
    match id {
        Bson::Int32(id) => Some(i64::from(*id)),
        Bson::Int64(id) => Some(*id),
        Bson::Double(id) if id.is_finite() && id.fract() == 0.0 => format!("{id:.0}").parse().ok(),
        Bson::Decimal128(id) => integral_decimal(*id),
        _ => None,
    }
}

/// By its text: sign, digits, optionally a point and an exponent.
fn integral_decimal(id: Decimal128) -> Option<i64> {
    let text = id.to_string();
    let (mantissa, exponent) = match text.split_once('E') {
        Some((mantissa, exponent)) => (mantissa, i32::from_str(exponent).ok()?),
        None => (text.as_str(), 0),
    };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    let mut exponent = exponent - i32::try_from(fraction.len()).ok()?;
    while exponent < 0 && digits.len() > 1 && digits.ends_with('0') {
        digits.pop();
        exponent += 1;
    }
    if digits.bytes().all(|digit| digit == b'0') {
        exponent = 0;
    }
    // 64 bits have at most 19 digits.
    let zeros = usize::try_from(exponent).ok().filter(|zeros| *zeros < 20)?;
    format!("{sign}{digits}{}", "0".repeat(zeros)).parse().ok()
}

/// `_id` for the source's range query: a number to compare with, or `None` if the query would not
/// compare it.
pub(super) fn comparable(id: &Bson) -> Option<f64> {
    let id = match id {
        Bson::Decimal128(id) => id.to_string().parse().ok()?,
        Bson::Double(id) => *id,
        Bson::Int32(id) => f64::from(*id),
        // Times are far below 2^53, where this is exact.
        Bson::Int64(id) => id.to_string().parse().ok()?,
        _ => return None,
    };
    (!f64::is_nan(id)).then_some(id)
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;
    use crate::reference::stored::read_fields;

    fn fields(document: &Document) -> Fields {
        let bytes = document.to_vec().expect("a document");
        read_fields(&bytes).expect("BSON")
    }

    #[test]
    fn keys_are_digits_with_an_optional_minus() {
        let cases = [
            ("0", Some(0)),
            ("007", Some(7)),
            ("-5", Some(-5)),
            ("-0", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("+5", None),
            ("5.0", None),
            ("5 ", None),
            ("--5", None),
            ("٣", None),
        ];
        for (key, expected) in cases {
            assert_eq!(number(key), expected, "{key:?}");
        }
    }

    #[test]
    fn ids_are_whole_numbers_of_any_numeric_type() {
        let decimal = |text: &str| Bson::Decimal128(text.parse().expect("a decimal number"));
        let cases = [
            (Bson::Int32(-1), Some(-1)),
            (Bson::Double(1.572_562_8e12), Some(1_572_562_800_000)),
            (Bson::Double(0.5), None),
            (Bson::Double(f64::NAN), None),
            (Bson::Double(1e19), None),
            (decimal("1572562800000"), Some(1_572_562_800_000)),
            (decimal("1572562800000.00"), Some(1_572_562_800_000)),
            (decimal("1.5725628E+12"), Some(1_572_562_800_000)),
            (decimal("-36E+5"), Some(-3_600_000)),
            (decimal("0E-3"), Some(0)),
            (decimal("0E+6000"), Some(0)),
            (decimal("1.5"), None),
            (decimal("1E+400"), None),
            (decimal("NaN"), None),
            (decimal("Infinity"), None),
            (Bson::String("1572562800000".into()), None),
        ];
        for (id, expected) in cases {
            assert_eq!(integral(&id), expected, "{id:?}");
        }
    }

    #[test]
    fn reasons_are_checked_key_first_then_type_then_hour() {
        let document = fields(&doc! { "_id": 1_i64, "values": {
            "x": { "raw": 1 },
            "9999999": { "raw": 1 },
            "9999998": [1],
            "9999997": 1,
            "y": { "values": { "1": 1, "2": { "values": {} } } },
            "5": { "values": 7 },
            "9223372036854775807": { "values": { "9": 1 } },
            "-1": 1,
            "1": 1,
        } });
        let one = Bson::Int32(1);
        let rejected = |reason, path: &str| Entry::Rejected(reason, path.to_owned());
        let expected = [
            rejected("invalidKey", "x"),
            rejected("documentValue", "9999999"),
            rejected("unsupportedType", "9999998"),
            rejected("outsideHour", "9999997"),
            rejected("invalidKey", "y/1"),
            // Its `values` is no document.
            rejected("documentValue", "5"),
            // A sum beyond 64 bits.
            rejected("invalidKey", "9223372036854775807/9"),
            rejected("outsideHour", "-1"),
            Entry::Point(2, &one),
        ];
        assert_eq!(entries(&document, 1), Ok(expected.to_vec()));
        assert_eq!(entries(&fields(&doc! { "_id": 0, "values": 5 }), 0), Err("missingValues"));
        assert_eq!(entries(&fields(&doc! { "_id": 0 }), 0), Err("missingValues"));
    }

    #[test]
    fn points_are_in_the_order_of_their_paths() {
        let document = fields(&doc! { "values": {
            "9": { "values": { "5": 1, "1": 2 } }, "4": { "values": { "10": 3 } }, "14": 4,
        } });
        let values = [3, 2, 1, 4].map(Bson::Int32);
        let times = [14, 10, 14, 14];
        let expected: Vec<_> =
            times.iter().zip(&values).map(|(time_ms, value)| Entry::Point(*time_ms, value)).collect();
        assert_eq!(entries(&document, 0), Ok(expected));
    }

    #[test]
    fn arrays_have_their_indexes_as_keys() {
        let document = fields(&doc! { "values": [7, { "values": [8, [9]] }, { "values": { "5": 1 } }] });
        let values = [7, 8, 1].map(Bson::Int32);
        let points = [0, 1, 7].into_iter().zip(&values).map(|(time_ms, value)| Entry::Point(time_ms, value));
        let rejected = Entry::Rejected("unsupportedType", "1/1".to_owned());
        let expected: Vec<_> = std::iter::once(rejected).chain(points).collect();
        assert_eq!(entries(&document, 0), Ok(expected));
        assert_eq!(inside(Some(&document)), Inside { points: 4, is_cut: false });
    }

    #[test]
    fn a_bucket_below_a_hundred_others_is_too_deep() {
        let nested = |buckets: usize| {
            let values = (0..buckets).fold(doc! { "0": 1 }, |inner, _| doc! { "0": { "values": inner } });
            fields(&doc! { "values": { "0": values.get("0").cloned(), "1": 1 } })
        };
        assert_eq!(entries(&nested(100), 0).map(|entries| entries.len()), Ok(2));
        let too_deep = nested(101);
        let found = entries(&too_deep, 0).expect("a bucket");
        let inside = Inside { points: 1, is_cut: false };
        assert!(matches!(&found[0], Entry::Bucket("tooDeep", _, found) if *found == inside), "{found:?}");
        assert_eq!(found.len(), 2);
    }
}
