//! Stored documents, valid or not, and the parts of them that can be read.
//!
//! The driver's library ends at a key that is not UTF-8, and its [`Document`] drops fields of one
//! name, so this reader has a loop of its own. The library decodes the values.

use bson::spec::ElementType;
use bson::{Bson, Document, RawDocument};

/// An hour document as stored in a collection or a dump.
#[derive(Debug, Clone, PartialEq)]
pub enum StoredDocument {
    /// A document.
    Bson(Document),
    /// Bytes of a supposed document: the length in front is right, the rest may be anything.
    Raw(Vec<u8>),
}

impl From<Document> for StoredDocument {
    fn from(document: Document) -> Self {
        Self::Bson(document)
    }
}

impl StoredDocument {
    /// The stored bytes, the length in front included.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bson(document) => document.to_vec().expect("a document can be encoded"),
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

/// A value with all its content, as far as it can be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stored {
    /// A document; `None` if its length or its closing byte is wrong.
    Document(Option<Fields>),
    /// An array; `None` like that of a document.
    Array(Option<Fields>),
    /// A value that can be a cell.
    Value(Bson),
    /// A value of a type that can be a cell, whose bytes do not fit the type.
    Invalid(u8),
    /// A value of another type.
    Other(u8),
}

/// The elements of a document, in their order. Unlike [`Document`], it keeps equal keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fields {
    /// Keys that are not UTF-8 have replacement characters.
    pub(super) elements: Vec<(String, Stored)>,
    /// Whether the elements were read to the end of the document.
    pub(super) is_whole: bool,
}

impl Fields {
    /// All fields with this name, in their order.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Stored> {
        self.elements.iter().filter(move |(key, _)| key == name).map(|(_, value)| value)
    }
}

/// The document's fields, up to the first element that cannot be read. `None` if the document's
/// length or closing byte is wrong.
pub(super) fn read_fields(document: &[u8]) -> Option<Fields> {
    if document.len() < 5 || length(document) != Some(document.len()) || document.last() != Some(&0) {
        return None;
    }
    let mut rest = &document[4..document.len() - 1];
    let mut fields = Fields { elements: Vec::new(), is_whole: true };
    while !rest.is_empty() {
        let Some((key, value, after)) = read_element(rest) else {
            fields.is_whole = false;
            break;
        };
        fields.elements.push((key, value));
        rest = after;
    }
    Some(fields)
}

/// The key and the value of the first element, and what comes after it.
fn read_element(bytes: &[u8]) -> Option<(String, Stored, &[u8])> {
    let (kind, after_kind) = bytes.split_first()?;
    let (key, after_key) = until_zero(after_kind)?;
    let size = size(*kind, after_key)?;
    if size > after_key.len() {
        return None;
    }
    let (value, after) = after_key.split_at(size);
    Some((String::from_utf8_lossy(key).into_owned(), stored(*kind, value), after))
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn length(bytes: &[u8]) -> Option<usize> {
    let length = i32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    usize::try_from(length).ok()
}

/// Bytes of a value of this type, by bsonspec.org.
fn size(kind: u8, bytes: &[u8]) -> Option<usize> {
    match ElementType::from(kind)? {
        ElementType::Double | ElementType::Int64 | ElementType::DateTime | ElementType::Timestamp => Some(8),
        ElementType::Int32 => Some(4),
        ElementType::Boolean => Some(1),
        ElementType::ObjectId => Some(12),
        ElementType::Decimal128 => Some(16),
        ElementType::Null | ElementType::Undefined | ElementType::MinKey | ElementType::MaxKey => Some(0),
        ElementType::String | ElementType::Symbol | ElementType::JavaScriptCode => Some(4 + length(bytes)?),
        ElementType::Binary => Some(4 + 1 + length(bytes)?),
        ElementType::DbPointer => Some(4 + length(bytes)? + 12),
        ElementType::EmbeddedDocument | ElementType::Array | ElementType::JavaScriptCodeWithScope => {
            length(bytes).filter(|length| *length >= 5)
        }
        ElementType::RegularExpression => {
            let (pattern, after_pattern) = until_zero(bytes)?;
            let (options, _) = until_zero(after_pattern)?;
            Some(pattern.len() + options.len() + 2)
        }
    }
}

fn stored(kind: u8, value: &[u8]) -> Stored {
    match ElementType::from(kind) {
        Some(ElementType::EmbeddedDocument) => Stored::Document(read_fields(value)),
        Some(ElementType::Array) => Stored::Array(read_fields(value)),
        Some(
            ElementType::Double
            | ElementType::Int64
            | ElementType::Int32
            | ElementType::Boolean
            | ElementType::Decimal128
            | ElementType::Null
            | ElementType::String,
        ) => decoded(kind, value).map_or(Stored::Invalid(kind), Stored::Value),
        _ => Stored::Other(kind),
    }
}

/// The value, decoded by the driver's library as the only field of a document.
fn decoded(kind: u8, value: &[u8]) -> Option<Bson> {
    let size = i32::try_from(4 + 3 + value.len() + 1).ok()?;
    let document = [&size.to_le_bytes(), &[kind][..], b"v\0", value, b"\0"].concat();
    // The library does not look at the end of a text.
    if kind == ElementType::String as u8 && value.last() != Some(&0) {
        return None;
    }
    let (_, value) = RawDocument::from_bytes(&document).ok()?.iter().next()?.ok()?;
    Bson::try_from(value).ok()
}

/// The fields `_id` of a document. The bytes after them may be anything, as long as the document's
/// length and closing byte are right.
#[derive(Debug)]
pub(super) enum Id {
    /// It has none, and was read to its end.
    Missing,
    /// None was found up to an element that cannot be read.
    Unreadable,
    /// The only one that was found.
    One(Stored),
    /// The first of several.
    First(Stored),
}

impl Id {
    pub(super) fn of(document: Option<&Fields>) -> Self {
        let mut ids = document.into_iter().flat_map(|fields| fields.named("_id")).cloned();
        match (ids.next(), ids.next()) {
            (Some(id), None) => Self::One(id),
            (Some(id), Some(_)) => Self::First(id),
            (None, _) if document.is_some_and(|fields| fields.is_whole) => Self::Missing,
            (None, _) => Self::Unreadable,
        }
    }

    /// The value of the only one.
    pub(super) fn value(&self) -> Option<&Bson> {
        match self {
            Self::One(Stored::Value(value)) => Some(value),
            _ => None,
        }
    }

    /// The `_id` of an unusable document, as the samples of a manifest show it.
    pub(super) fn text(&self) -> String {
        /// Longer texts are cut.
        const MOST_CHARACTERS: usize = 64;
        let kind = |kind: u8| format!("a value of BSON type {kind:#04x}");
        let value = match self {
            Self::Unreadable => return "unreadable".to_owned(),
            Self::Missing => return "missing".to_owned(),
            Self::One(value) | Self::First(value) => value,
        };
        match value {
            Stored::Value(Bson::Int32(id)) => id.to_string(),
            Stored::Value(Bson::Int64(id)) => id.to_string(),
            Stored::Value(Bson::Double(id)) => id.to_string(),
            Stored::Value(Bson::String(id)) => id.chars().take(MOST_CHARACTERS).collect(),
            Stored::Value(other) => kind(other.element_type() as u8),
            Stored::Document(_) => kind(ElementType::EmbeddedDocument as u8),
            Stored::Array(_) => kind(ElementType::Array as u8),
            Stored::Invalid(text) if *text == ElementType::String as u8 => "unreadable".to_owned(),
            Stored::Invalid(other) | Stored::Other(other) => kind(*other),
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn id(bytes: &[u8]) -> Id {
        Id::of(read_fields(bytes).as_ref())
    }

    #[test]
    fn ids_are_shown_as_text() {
        let text = |document: Document| id(&StoredDocument::from(document).bytes()).text();
        assert_eq!(text(doc! { "_id": 5.5 }), "5.5");
        assert_eq!(text(doc! { "_id": f64::NAN }), "NaN");
        assert_eq!(text(doc! { "_id": "é".repeat(70) }), "é".repeat(64));
        assert_eq!(
            text(doc! { "_id": bson::oid::ObjectId::from_bytes([1; 12]) }),
            "a value of BSON type 0x07"
        );
        assert_eq!(text(doc! { "_id": { "a": 1 } }), "a value of BSON type 0x03");
        assert_eq!(text(doc! { "_id": [1] }), "a value of BSON type 0x04");
        assert_eq!(text(doc! { "_id": Bson::MinKey }), "a value of BSON type 0xff");
        assert_eq!(text(doc! { "id": 5 }), "missing");
        assert_eq!(id(&[5, 0, 0, 0, 1]).text(), "unreadable");
        let mut neither = doc! { "_id": true }.to_vec().expect("a document");
        neither[9] = 7;
        assert_eq!(id(&neither).text(), "a value of BSON type 0x08");
    }

    #[test]
    fn an_id_is_read_though_what_follows_is_broken() {
        let mut bytes = doc! { "_id": 7, "values": 5 }.to_vec().expect("a document");
        let at = bytes.windows(6).position(|name| name == b"values").expect("the field") - 1;
        bytes[at] = 0x55;
        assert_eq!(id(&bytes).value(), Some(&Bson::Int32(7)));
        assert!(read_fields(&bytes).is_some_and(|fields| !fields.is_whole));
        bytes[at - 5 - 4] = 0x55;
        assert_eq!(id(&bytes).text(), "unreadable");
    }

    #[test]
    fn a_key_that_is_there_twice_is_kept_twice() {
        let mut bytes = doc! { "a": 1, "b": 2 }.to_vec().expect("a document");
        let at = bytes.iter().position(|byte| *byte == b'b').expect("the key");
        bytes[at] = b'a';
        let fields = read_fields(&bytes).expect("BSON");
        let found: Vec<&Stored> = fields.named("a").collect();
        assert_eq!(found, [&Stored::Value(Bson::Int32(1)), &Stored::Value(Bson::Int32(2))]);
    }

    #[test]
    fn values_whose_bytes_do_not_fit_are_invalid() {
        let mut bytes = doc! { "a": "xy", "b": true, "c": "z" }.to_vec().expect("a document");
        let at = bytes.windows(2).position(|text| text == b"xy").expect("the text");
        bytes[at..at + 2].copy_from_slice(&[0xed, 0xa0]);
        let at = bytes.windows(3).position(|element| element == b"\x08b\0").expect("the boolean");
        bytes[at + 3] = 2;
        let end = bytes.len() - 2;
        bytes[end] = b'!';
        let fields = read_fields(&bytes).expect("BSON");
        let values: Vec<&Stored> = fields.elements.iter().map(|(_, value)| value).collect();
        assert!(fields.is_whole);
        assert_eq!(values, [&Stored::Invalid(2), &Stored::Invalid(8), &Stored::Invalid(2)]);
    }
}
