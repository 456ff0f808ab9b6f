//! Hour documents: reading the `_id`, and keeping unusable documents without their bytes.

use bytes::Bytes;
use export_core::TimeRange;
use export_core::manifest::SAMPLES_PER_REASON;
use export_core::range::HOUR_MS;

use super::count::points_of_document;
use super::element::{Element, Elements, Malformed, kind};
use super::samples::{Inside, Reason};

/// An hour document as it came from the source, with its `_id` read.
#[derive(Clone, Debug)]
pub(crate) struct HourDocument {
    /// The `_id` in ms. Without a usable `_id`: the `_id` of the document before it (`i64::MIN` if
    /// there is none), so that the order of documents is kept.
    pub(crate) start_ms: i64,
    /// Empty if the document is unusable: a file of a dump may hold millions of unusable documents
    /// one after the other.
    pub(crate) bytes: Bytes,
    /// Set if the `_id` shows that the document is unusable.
    pub(crate) unusable: Option<Unusable>,
}

/// Documents that cannot be read, for one reason.
#[derive(Clone, Debug)]
pub(crate) struct Unusable {
    pub(crate) reason: Reason,
    /// The `_id` of the first of them, as text.
    pub(crate) id: String,
    /// How many documents: more than one if further documents are counted without a sample of their
    /// own.
    pub(crate) count: u64,
    /// What all of them hold.
    pub(crate) inside: Inside,
}

impl HourDocument {
    /// Reads the `_id` of a raw document. `before_ms` is the start of the document before it.
    pub(crate) fn parse(bytes: Bytes, before_ms: i64) -> Self {
        let ids = Ids::read(&bytes);
        let only = ids.first.filter(|_| !ids.is_repeated);
        let start_ms = only.and_then(|id| time_of(id).ok().flatten());
        let reason = match start_ms {
            Some(start_ms) => return Self { start_ms, bytes, unusable: None },
            None if ids.is_repeated => Reason::RepeatedId,
            None if ids.first.is_none() && !ids.is_whole => Reason::Malformed,
            None => Reason::InvalidId,
        };
        let inside = points_of_document(&bytes);
        let unusable = Unusable { reason, id: ids.describe(), count: 1, inside };
        Self { start_ms: before_ms, bytes: Bytes::new(), unusable: Some(unusable) }
    }

    /// Memory that the document takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }

    /// Adds the document to a column's documents. Returns the memory that it takes there, in bytes.
    /// Of the unusable documents with one `start_ms` and one reason, only as many are kept as the
    /// manifest shows; the last of them counts the rest.
    pub(crate) fn add_to(self, documents: &mut Vec<Self>) -> usize {
        if let Some(unusable) = &self.unusable {
            let here = documents.iter_mut().rev().take_while(|document| document.start_ms == self.start_ms);
            let mut alike = here
                .filter_map(|document| document.unusable.as_mut())
                .filter(|u| u.reason == unusable.reason);
            if let Some(last) = alike.next()
                && alike.count() + 1 >= SAMPLES_PER_REASON
            {
                last.count += unusable.count;
                last.inside.add(unusable.inside);
                return 0;
            }
        }
        let memory_bytes = self.memory_bytes();
        documents.push(self);
        memory_bytes
    }

    /// Whether points of the document may lie at this time or later.
    pub(crate) fn reaches(&self, time_ms: i64) -> bool {
        self.unusable.is_none() && self.start_ms + HOUR_MS > time_ms
    }
}

/// The fields `_id` of a document.
struct Ids<'a> {
    first: Option<Element<'a>>,
    is_repeated: bool,
    /// Whether the document's fields were read to their end.
    is_whole: bool,
}

impl<'a> Ids<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let mut ids = Self { first: None, is_repeated: false, is_whole: false };
        let Ok(mut fields) = Elements::of(bytes) else { return ids };
        loop {
            match fields.next() {
                Ok(Some(field)) if field.key == b"_id" => {
                    ids.is_repeated = ids.first.is_some();
                    ids.first.get_or_insert(field);
                    if ids.is_repeated {
                        return ids;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    ids.is_whole = true;
                    return ids;
                }
                Err(Malformed) => return ids,
            }
        }
    }

    /// The `_id` of an unusable document, as text for the manifest.
    fn describe(&self) -> String {
        let Some(id) = self.first else {
            return if self.is_whole { "missing" } else { "unreadable" }.to_owned();
        };
        match id.kind {
            kind::INT32 => id.int32().map(|id| id.to_string()),
            kind::INT64 => id.int64().map(|id| id.to_string()),
            kind::DOUBLE => id.double().map(|id| id.to_string()),
            kind::STRING => id.text().map(|text| text.chars().take(64).collect()),
            kind => Ok(format!("a value of BSON type {kind:#04x}")),
        }
        .unwrap_or_else(|Malformed| "unreadable".to_owned())
    }
}

/// The value of an `_id` in unix milliseconds; `None` unless it is an integral number and a
/// possible time.
pub(crate) fn time_of(id: Element<'_>) -> Result<Option<i64>, Malformed> {
    let start_ms = match id.kind {
        kind::INT32 => Some(i64::from(id.int32()?)),
        kind::INT64 => Some(id.int64()?),
        kind::DOUBLE => integral(id.double()?),
        kind::DECIMAL128 => integral_decimal(&id.decimal()?.to_string()),
        _ => None,
    };
    Ok(start_ms.filter(|start_ms| (TimeRange::MIN_MS - HOUR_MS..=TimeRange::MAX_MS).contains(start_ms)))
}

fn integral(value: f64) -> Option<i64> {
    // Times of the years 1 to 9999 are far below 2^53, where every integer is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be integral and below 2^53")]
    (value.fract() == 0.0 && value.abs() < EXACT).then_some(value as i64)
}

/// Parses the text of a Decimal128: optional sign, up to 34 digits, optional point, optional
/// exponent.
fn integral_decimal(text: &str) -> Option<i64> {
    let (mantissa, exponent) = text.split_once('E').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let exponent = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
    if digits == 0 {
        return Some(0);
    }
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let value = if exponent >= 0 {
        digits.checked_mul(power)?
    } else if digits % power == 0 {
        digits / power
    } else {
        return None;
    };
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, doc};

    #[test]
    fn ids_of_every_numeric_type() {
        for (id, expected) in [
            (Bson::Int32(7_200_000), Some(7_200_000)),
            (Bson::Int64(1_482_246_000_000), Some(1_482_246_000_000)),
            (Bson::Double(1.572_562_8e12), Some(1_572_562_800_000)),
            (Bson::Decimal128("1482246000000".parse().expect("a decimal")), Some(1_482_246_000_000)),
            (Bson::Decimal128("1.482246E+12".parse().expect("a decimal")), Some(1_482_246_000_000)),
            (Bson::Decimal128("-3600000.00".parse().expect("a decimal")), Some(-HOUR_MS)),
            (Bson::Decimal128("1482245999999.99999999999999999".parse().expect("a decimal")), None),
            (Bson::Decimal128("0E-6000".parse().expect("a decimal")), Some(0)),
            (Bson::Decimal128("1E+6000".parse().expect("a decimal")), None),
            (Bson::Decimal128("NaN".parse().expect("a decimal")), None),
            (Bson::Double(0.5), None),
            (Bson::Double(f64::NAN), None),
            (Bson::Double(f64::INFINITY), None),
            (Bson::Int64(i64::MAX), None),
            (Bson::String("1482246000000".into()), None),
            (Bson::Null, None),
        ] {
            let bytes = doc! { "_id": id.clone() }.to_vec().expect("BSON");
            let ids = Ids::read(&bytes);
            assert_eq!(ids.first.map(time_of), Some(Ok(expected)), "{id}");
        }
    }

    #[test]
    fn every_truncated_document_is_malformed() {
        let whole =
            doc! { "_id": 1_482_246_000_000_i64, "values": { "1": 1, "2": { "values": { "3": 2 } } } }
                .to_vec()
                .expect("BSON");
        for length in 0..whole.len() {
            let parsed = HourDocument::parse(whole[..length].to_vec().into(), 7);
            let reason = parsed.unusable.map(|unusable| unusable.reason);
            assert_eq!((reason, parsed.start_ms), (Some(Reason::Malformed), 7), "cut at {length}");
        }
    }
}
