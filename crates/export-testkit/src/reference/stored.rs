//! Stored documents, valid or not, and the parts of them that can be read.

use bson::{Bson, Document, RawBsonRef, RawDocument};

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

/// The bytes are not BSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl From<bson::error::Error> for Malformed {
    fn from(_: bson::error::Error) -> Self {
        Self
    }
}

/// A value with all its content. Unlike [`Document`], it keeps duplicate keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stored {
    Document(Fields),
    Value(Bson),
}

/// The elements of a document, in their order.
pub(super) type Fields = Vec<(String, Stored)>;

/// The first of the fields with this name.
pub(super) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a Stored> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// The `_id`, read from the front: the bytes after it may be anything, as long as the document's
/// frame is right.
pub(super) fn read_id(bytes: &[u8]) -> Result<Option<Stored>, Malformed> {
    for element in RawDocument::from_bytes(bytes)? {
        let (key, value) = element?;
        if key.as_str() == "_id" {
            return stored(value).map(Some);
        }
    }
    Ok(None)
}

/// The whole document; `None` when any part of it is not BSON.
pub(super) fn read_fields(raw: &RawDocument) -> Result<Fields, Malformed> {
    let mut fields = Fields::new();
    for element in raw {
        let (key, value) = element?;
        fields.push((key.as_str().to_owned(), stored(value)?));
    }
    Ok(fields)
}

fn stored(value: RawBsonRef<'_>) -> Result<Stored, Malformed> {
    match value {
        RawBsonRef::Document(inner) => read_fields(inner).map(Stored::Document),
        other => Ok(Stored::Value(Bson::try_from(other)?)),
    }
}

/// An `_id` that is not a whole number of milliseconds, as the samples of a manifest show it.
pub(super) fn id_text(id: Result<Option<Stored>, Malformed>) -> String {
    /// Longer texts are cut.
    const MOST_CHARACTERS: usize = 64;
    let value = match id {
        Err(Malformed) => return "unreadable".to_owned(),
        Ok(None) => return "missing".to_owned(),
        Ok(Some(Stored::Document(_))) => Bson::Document(Document::new()),
        Ok(Some(Stored::Value(value))) => value,
    };
    match value {
        Bson::Int32(id) => id.to_string(),
        Bson::Int64(id) => id.to_string(),
        Bson::Double(id) => id.to_string(),
        Bson::String(id) => id.chars().take(MOST_CHARACTERS).collect(),
        other => format!("a value of BSON type {:#04x}", other.element_type() as u8),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn ids_are_shown_as_text() {
        let text = |document: Document| id_text(read_id(&StoredDocument::from(document).bytes()));
        assert_eq!(text(doc! { "_id": 5.5 }), "5.5");
        assert_eq!(text(doc! { "_id": f64::NAN }), "NaN");
        assert_eq!(text(doc! { "_id": "é".repeat(70) }), "é".repeat(64));
        assert_eq!(
            text(doc! { "_id": bson::oid::ObjectId::from_bytes([1; 12]) }),
            "a value of BSON type 0x07"
        );
        assert_eq!(text(doc! { "_id": { "a": 1 } }), "a value of BSON type 0x03");
        assert_eq!(text(doc! { "_id": Bson::MinKey }), "a value of BSON type 0xff");
        assert_eq!(text(doc! { "id": 5 }), "missing");
        assert_eq!(id_text(read_id(&[5, 0, 0, 0, 1])), "unreadable");
    }

    #[test]
    fn an_id_is_read_though_what_follows_is_broken() {
        let mut bytes = doc! { "_id": 7, "values": 5 }.to_vec().expect("a document");
        let at = bytes.windows(6).position(|name| name == b"values").expect("the field") - 1;
        bytes[at] = 0x55;
        assert_eq!(read_id(&bytes), Ok(Some(Stored::Value(Bson::Int32(7)))));
        assert_eq!(read_fields(RawDocument::from_bytes(&bytes).expect("a frame")), Err(Malformed));
        bytes[at - 5 - 4] = 0x55;
        assert_eq!(read_id(&bytes), Err(Malformed));
    }

    #[test]
    fn a_key_that_is_there_twice_is_kept_twice() {
        let mut bytes = doc! { "a": 1, "b": 2 }.to_vec().expect("a document");
        let at = bytes.iter().position(|byte| *byte == b'b').expect("the key");
        bytes[at] = b'a';
        let fields = read_fields(RawDocument::from_bytes(&bytes).expect("a frame")).expect("BSON");
        assert_eq!(fields.len(), 2);
        assert_eq!(field(&fields, "a"), Some(&Stored::Value(Bson::Int32(1))));
    }
}
