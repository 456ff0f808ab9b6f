//! Elements of a raw BSON document, without copying and without building anything.
//!
//! Written by hand because this loop sees every point of every export. The layout is that of the
//! BSON specification 1.1 (bsonspec.org). Every read is checked against the document's length; bad
//! bytes give [`Malformed`], never a panic.

/// The bytes are not a BSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Type bytes of elements.
pub(crate) mod kind {
    pub(crate) const DOUBLE: u8 = 0x01;
    pub(crate) const STRING: u8 = 0x02;
    pub(crate) const DOCUMENT: u8 = 0x03;
    pub(crate) const ARRAY: u8 = 0x04;
    pub(crate) const BINARY: u8 = 0x05;
    pub(crate) const UNDEFINED: u8 = 0x06;
    pub(crate) const OBJECT_ID: u8 = 0x07;
    pub(crate) const BOOL: u8 = 0x08;
    pub(crate) const DATE: u8 = 0x09;
    pub(crate) const NULL: u8 = 0x0a;
    pub(crate) const REGEX: u8 = 0x0b;
    pub(crate) const DB_POINTER: u8 = 0x0c;
    pub(crate) const CODE: u8 = 0x0d;
    pub(crate) const SYMBOL: u8 = 0x0e;
    pub(crate) const CODE_WITH_SCOPE: u8 = 0x0f;
    pub(crate) const INT32: u8 = 0x10;
    pub(crate) const TIMESTAMP: u8 = 0x11;
    pub(crate) const INT64: u8 = 0x12;
    pub(crate) const DECIMAL128: u8 = 0x13;
    pub(crate) const MAX_KEY: u8 = 0x7f;
    pub(crate) const MIN_KEY: u8 = 0xff;
}

/// One element: the type, the key and the bytes of the value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) kind: u8,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl<'a> Element<'a> {
    /// The value of an int32 element. As for the methods below, the caller has checked the type
    /// byte.
    pub(crate) fn int32(&self) -> Result<i32, Malformed> {
        self.value.try_into().map(i32::from_le_bytes).map_err(|_| Malformed)
    }

    pub(crate) fn int64(&self) -> Result<i64, Malformed> {
        self.value.try_into().map(i64::from_le_bytes).map_err(|_| Malformed)
    }

    pub(crate) fn double(&self) -> Result<f64, Malformed> {
        self.value.try_into().map(f64::from_le_bytes).map_err(|_| Malformed)
    }

    pub(crate) fn boolean(&self) -> Result<bool, Malformed> {
        match self.value {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn decimal(&self) -> Result<bson::Decimal128, Malformed> {
        self.value.try_into().map(bson::Decimal128::from_bytes).map_err(|_| Malformed)
    }

    /// The text of a string element: after its length, before its closing zero byte.
    pub(crate) fn text(&self) -> Result<&'a str, Malformed> {
        let [_, _, _, _, text @ .., 0] = self.value else { return Err(Malformed) };
        std::str::from_utf8(text).map_err(|_| Malformed)
    }
}

/// Iterates over the elements of a whole document, including its length prefix and closing byte.
#[derive(Clone, Debug)]
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    pub(crate) fn of(document: &'a [u8]) -> Result<Self, Malformed> {
        let length = length_at(document)?;
        if length < 5 || length != document.len() || document[length - 1] != 0 {
            return Err(Malformed);
        }
        Ok(Self { rest: &document[4..length - 1] })
    }

    /// The next element, or `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Element<'a>>, Malformed> {
        let Some((&kind, after_kind)) = self.rest.split_first() else { return Ok(None) };
        let key_length = after_kind.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
        let (key, after_key) = after_kind.split_at(key_length);
        let bytes = &after_key[1..];
        let value_length = value_length(kind, bytes)?;
        let (value, rest) = bytes.split_at_checked(value_length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(Some(Element { kind, key, value }))
    }

    /// The next element and its key as a number, `None` if [`parse_key`] refuses the key. Nearly
    /// all elements are read by this method, so it scans the key once for both.
    #[inline]
    pub(crate) fn next_keyed(&mut self) -> Result<Option<(Element<'a>, Option<i64>)>, Malformed> {
        let Some((&kind, after_kind)) = self.rest.split_first() else { return Ok(None) };
        let mut number: i64 = 0;
        let mut length = 0;
        for byte in after_kind {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            // Used only if there are too few digits to overflow.
            number = number.wrapping_mul(10).wrapping_add(i64::from(digit));
            length += 1;
        }
        if !(1..=SAFE_DIGITS).contains(&length) || after_kind.get(length) != Some(&0) {
            let element = self.next()?;
            return Ok(element.map(|element| (element, parse_key(element.key))));
        }
        let (key, after_key) = after_kind.split_at(length);
        let bytes = &after_key[1..];
        let (value, rest) = bytes.split_at_checked(value_length(kind, bytes)?).ok_or(Malformed)?;
        self.rest = rest;
        Ok(Some((Element { kind, key, value }, Some(number))))
    }

    /// The first element with this key.
    #[cfg(test)]
    fn find(mut self, key: &[u8]) -> Result<Option<Element<'a>>, Malformed> {
        while let Some(element) = self.next()? {
            if element.key == key {
                return Ok(Some(element));
            }
        }
        Ok(None)
    }
}

/// Any number with this many digits fits an i64.
const SAFE_DIGITS: usize = 18;

/// Parses a bucket's key in milliseconds: decimal digits that fit an i64, with an optional minus
/// sign.
pub(crate) fn parse_key(key: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match key {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // Accumulated as a negative number, since the range of i64 reaches one further below zero.
    let mut value: i64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if is_negative { Some(value) } else { value.checked_neg() }
}

/// The bytes of the value of this type at the start of `bytes`.
pub(crate) fn value_of(kind: u8, bytes: &[u8]) -> Result<&[u8], Malformed> {
    bytes.get(..value_length(kind, bytes)?).ok_or(Malformed)
}

/// Length of the value of this type at the start of `bytes`.
#[inline]
pub(crate) fn value_length(kind: u8, bytes: &[u8]) -> Result<usize, Malformed> {
    match kind {
        kind::INT32 => Ok(4),
        kind::DOUBLE | kind::INT64 => Ok(8),
        _ => other_value_length(kind, bytes),
    }
}

fn other_value_length(kind: u8, bytes: &[u8]) -> Result<usize, Malformed> {
    let prefixed =
        |extra: usize| length_at(bytes).and_then(|length| length.checked_add(extra).ok_or(Malformed));
    match kind {
        kind::DATE | kind::TIMESTAMP => Ok(8),
        kind::BOOL => Ok(1),
        kind::NULL | kind::UNDEFINED | kind::MIN_KEY | kind::MAX_KEY => Ok(0),
        kind::OBJECT_ID => Ok(12),
        kind::DECIMAL128 => Ok(16),
        kind::STRING | kind::CODE | kind::SYMBOL => prefixed(4),
        kind::DOCUMENT | kind::ARRAY | kind::CODE_WITH_SCOPE => {
            prefixed(0).and_then(|n| if n < 5 { Err(Malformed) } else { Ok(n) })
        }
        kind::BINARY => prefixed(5),
        kind::DB_POINTER => prefixed(16),
        kind::REGEX => {
            let pattern = bytes.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
            let options = bytes[pattern + 1..].iter().position(|byte| *byte == 0).ok_or(Malformed)?;
            Ok(pattern + 1 + options + 1)
        }
        _ => Err(Malformed),
    }
}

/// A little-endian int32 length, which is never negative.
fn length_at(bytes: &[u8]) -> Result<usize, Malformed> {
    let prefix = bytes.first_chunk::<4>().ok_or(Malformed)?;
    usize::try_from(i32::from_le_bytes(*prefix)).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, doc};
    use proptest::prelude::*;

    fn walk_everything(document: &[u8], depth: usize) -> Result<usize, Malformed> {
        let mut elements = Elements::of(document)?;
        let mut count = 0;
        while let Some(element) = elements.next()? {
            count += 1;
            if matches!(element.kind, kind::DOCUMENT | kind::ARRAY) && depth < 100 {
                count += walk_everything(element.value, depth + 1)?;
            }
        }
        Ok(count)
    }

    fn every_type() -> bson::Document {
        doc! {
            "double": 1.5, "string": "text", "document": { "a": 1 }, "array": [1, 2],
            "binary": Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2, 3] }),
            "undefined": Bson::Undefined, "id": bson::oid::ObjectId::from_bytes([7; 12]), "bool": true,
            "date": bson::DateTime::from_millis(5), "null": Bson::Null,
            "regex": bson::Regex { pattern: bson::cstr!("a.*").into(), options: bson::cstr!("i").into() },
            "code": Bson::JavaScriptCode("1".into()), "symbol": Bson::Symbol("s".into()),
            "scope": bson::JavaScriptCodeWithScope { code: "1".into(), scope: doc! { "x": 1 } },
            "int32": 1, "timestamp": bson::Timestamp { time: 1, increment: 2 }, "int64": 1_i64,
            "decimal": bson::Decimal128::from_bytes([1; 16]), "max": Bson::MaxKey, "min": Bson::MinKey, "last": 9
        }
    }

    #[test]
    fn every_type_is_skipped() {
        let bytes = every_type().to_vec().expect("a document");
        let last = Elements::of(&bytes).and_then(|elements| elements.find(b"last")).expect("well formed");
        assert_eq!(last.expect("the last element").int32(), Ok(9));
    }

    #[test]
    fn every_truncation_is_malformed() {
        let bytes = every_type().to_vec().expect("a document");
        for length in 0..bytes.len() {
            assert_eq!(walk_everything(&bytes[..length], 0), Err(Malformed), "cut at {length}");
        }
    }

    #[test]
    fn keys_reach_both_ends_of_i64() {
        for (key, expected) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("-5", Some(-5)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775809", None),
            ("-", None),
            ("+5", None),
            ("5 ", None),
            ("1e3", None),
        ] {
            assert_eq!(parse_key(key.as_bytes()), expected, "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_cause_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 5..200), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let _ = walk_everything(&bytes, 0);
            let length = i32::try_from(bytes.len()).expect("short");
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            let _ = walk_everything(&bytes, 0);
            let mut real = every_type().to_vec().expect("a document");
            let index = at.index(real.len());
            real[index] = byte;
            let _ = walk_everything(&real, 0);
        }
    }
}
