//! A JSON parser that refuses repeated names and deep nesting.
//!
//! If an object repeats a name, some parsers use the first value and others the last, so a proxy
//! that checks requests may see another value than this service. Deep nesting is refused because no
//! request of this API needs it.

use std::cell::RefCell;
use std::fmt;

use export_core::request::FieldError;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::http::problem::Problem;

/// Maximum nesting of lists and objects. Valid requests have two levels.
const MAX_DEPTH: usize = 8;
/// The byte order mark of UTF-8.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
/// Maximum number of repeated names that one answer lists.
const MAX_REPORTED: usize = 20;

/// Parses a whole body as one value.
///
/// A byte order mark in front, as some editors and Windows tools write it, is skipped. JSON in
/// another encoding than UTF-8 gets a problem that says so.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    if is_wide(bytes) {
        return Err(Problem::malformed("The body is UTF-16 or UTF-32; send JSON as UTF-8."));
    }
    let bytes = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
    let repeated = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node { pointer: String::new(), depth: 0, repeated: &repeated }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| Problem::malformed(format!("The body is not valid JSON: {error}.")))?;
    let repeated = repeated.into_inner();
    if repeated.is_empty() { Ok(value) } else { Err(Problem::invalid(repeated)) }
}

/// Whether the bytes are text in UTF-16 or UTF-32: with a byte order mark, or with a zero byte in
/// the first character, which is an ASCII character in JSON.
fn is_wide(bytes: &[u8]) -> bool {
    let has_mark = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    has_mark || bytes.iter().take(2).any(|byte| *byte == 0)
}

/// A value to be parsed, at a location of the body.
struct Node<'found> {
    pointer: String,
    depth: usize,
    repeated: &'found RefCell<Vec<FieldError>>,
}

impl Node<'_> {
    fn child(&self, name: &str) -> Self {
        let name = name.replace('~', "~0").replace('/', "~1");
        Self { pointer: format!("{}/{name}", self.pointer), depth: self.depth + 1, repeated: self.repeated }
    }

    fn check_depth<E: Error>(&self) -> Result<(), E> {
        if self.depth < MAX_DEPTH {
            Ok(())
        } else {
            Err(E::custom(format_args!("lists and objects are nested more than {MAX_DEPTH} deep")))
        }
    }

    fn report_repeated(&self) {
        let mut repeated = self.repeated.borrow_mut();
        if repeated.len() < MAX_REPORTED && !repeated.iter().any(|known| known.pointer == self.pointer) {
            let detail = "is repeated; send it once".to_owned();
            repeated.push(FieldError { pointer: self.pointer.clone(), detail });
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(self.child(&list.len().to_string()))? {
            list.push(entry);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let child = self.child(&name);
            if object.contains_key(&name) {
                child.report_repeated();
            }
            object.insert(name, fields.next_value_seed(child)?);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem(body: &str) -> Value {
        let problem = parse(body.as_bytes()).expect_err("a problem");
        serde_json::from_str(&problem.body("id")).expect("JSON")
    }

    #[test]
    fn plain_json_is_parsed_unchanged() {
        let value = json!({ "a": [1, -2, 1.5, true, null, "x", { "b": {} }], "c~/": u64::MAX });
        assert_eq!(parse(value.to_string().as_bytes()).expect("JSON"), value);
    }

    #[test]
    fn b7_a_byte_order_mark_is_skipped_and_other_encodings_are_named() {
        assert_eq!(parse(b"\xef\xbb\xbf{}").expect("JSON"), json!({}));
        let encoded = |mark: &str, wide: bool| {
            let text = format!("{mark}{{\"a\":1}}");
            let units = text.encode_utf16();
            let big = |unit: u16| {
                if wide { u32::from(unit).to_be_bytes().to_vec() } else { unit.to_be_bytes().to_vec() }
            };
            let big: Vec<Vec<u8>> = units.map(big).collect();
            let little = big.iter().map(|unit| unit.iter().rev().copied().collect::<Vec<u8>>());
            [little.collect::<Vec<_>>().concat(), big.concat()]
        };
        for (mark, wide) in [("", false), ("\u{feff}", false), ("", true), ("\u{feff}", true)] {
            for body in encoded(mark, wide) {
                let problem = parse(&body).expect_err("not UTF-8");
                assert!(problem.status() == 400 && problem.body("id").contains("UTF-16"), "{body:?}");
            }
        }
        for body in [&b"\xef\xbb\xbf"[..], b"\xef\xbb\xbf\xef\xbb\xbf{}", b"\xef\xbb{}"] {
            assert_eq!(parse(body).expect_err("not JSON").status(), 400, "{body:?}");
        }
    }

    #[test]
    fn repeated_names_are_reported_with_their_location() {
        let answer =
            problem(r#"{ "a": 1, "b": [{ "c": 1, "c": 2 }], "a": 1, "a": 2, "\u0061/": 1, "a/": 1 }"#);
        assert_eq!(
            (&answer["status"], &answer["type"]),
            (&json!(422), &json!("urn:exports:problem:invalid-request"))
        );
        let errors = answer["errors"].as_array().expect("errors");
        let pointers: Vec<_> =
            errors.iter().map(|error| error["pointer"].as_str().expect("a pointer")).collect();
        assert_eq!(pointers, ["/b/0/c", "/a", "/a~1"]);
    }

    #[test]
    fn deep_nesting_and_invalid_json_are_refused() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        for body in
            [nested(MAX_DEPTH + 1), nested(8_000), "{".to_owned(), "{} {}".to_owned(), "1e999".to_owned()]
        {
            assert_eq!(problem(&body)["type"], "urn:exports:problem:malformed", "{body:.40}");
        }
    }
}
