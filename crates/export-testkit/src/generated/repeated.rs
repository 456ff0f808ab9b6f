//! What a server stores, but no [`Document`] can hold: fields of one name and texts that are not
//! UTF-8. And `values` as arrays.
//!
//! A document is built with stand-ins of the same length, which [`patched`] replaces in its bytes.

use bson::{Bson, Document};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::key;
use super::values::{Values, value};
use crate::reference::StoredDocument;

/// Becomes a second field `values`.
const VALUES: &str = "valueZ";
/// As a key, becomes a second key `10`. Two characters, since one could be the length of a document.
pub(super) const TEN: &str = "qZ";
/// Becomes a lone surrogate, which is three bytes too.
pub(super) const INVALID_UTF_8: &str = "€";

/// Something that is added to a bucket.
#[derive(Clone, Debug)]
pub(super) struct Extra {
    /// Which bucket; the first one is the document itself.
    bucket: Index,
    kind: u8,
    is_first: bool,
    children: Vec<(String, Bson)>,
}

pub(super) fn extra(values: Values) -> impl Strategy<Value = Extra> {
    let children = vec((key(), value(values)), 0..4);
    (any::<Index>(), 0_u8..6, any::<bool>(), children).prop_map(|(bucket, kind, is_first, children)| Extra {
        bucket,
        kind,
        is_first,
        children,
    })
}

impl Extra {
    pub(super) fn add_to(self, document: &mut Document) {
        let mut number = self.bucket.index(count_buckets(document));
        change_bucket(document, &mut number, &mut |bucket| self.change(bucket));
    }

    fn change(&self, bucket: &mut Document) {
        let children: Document = self.children.iter().cloned().collect();
        match self.kind {
            0 | 1 => self.repeat(bucket, children.into()),
            2 => self.repeat(bucket, children.into_iter().map(|(_, child)| child).collect()),
            3 => self.repeat(bucket, 7.into()),
            4 => drop(bucket.insert("count", 3)),
            _ => {
                if let Some(Bson::Document(values)) = bucket.get("values") {
                    let values: Bson = values.clone().into_iter().map(|(_, child)| child).collect();
                    bucket.insert("values", values);
                }
            }
        }
    }

    /// Adds a field `values`, as the first or the last one of the bucket.
    fn repeat(&self, bucket: &mut Document, values: Bson) {
        let others = std::mem::take(bucket);
        let mut fields = vec![(VALUES.to_owned(), values)];
        // The `_id` stays the first field, as a server stores it.
        let at = usize::from(others.contains_key("_id"));
        let mut all: Vec<(String, Bson)> = others.into_iter().collect();
        let at = if self.is_first { at } else { all.len() };
        all.splice(at..at, fields.drain(..));
        bucket.extend(all);
    }
}

/// The document itself, and its buckets as far as no array is around them.
fn count_buckets(document: &Document) -> usize {
    let children = document.get_document("values").ok();
    let inner = children.into_iter().flat_map(Document::values).filter_map(Bson::as_document);
    1 + inner.filter(|child| child.contains_key("values")).map(count_buckets).sum::<usize>()
}

/// Changes the bucket of this number.
fn change_bucket(document: &mut Document, number: &mut usize, change: &mut dyn FnMut(&mut Document)) {
    let is_this = *number == 0;
    *number = number.wrapping_sub(1);
    if is_this {
        return change(document);
    }
    let Ok(children) = document.get_document_mut("values") else { return };
    let keys: Vec<String> = children.keys().cloned().collect();
    for key in keys {
        if let Ok(child) = children.get_document_mut(&key)
            && child.contains_key("values")
            && *number != usize::MAX
        {
            change_bucket(child, number, change);
        }
    }
}

/// The document with all stand-ins replaced.
pub(super) fn patched(document: &Document) -> StoredDocument {
    let mut bytes = document.to_vec().expect("a document");
    let is_changed = [
        replace(&mut bytes, b"valueZ\0", b"values\0"),
        replace(&mut bytes, b"qZ\0", b"10\0"),
        replace(&mut bytes, INVALID_UTF_8.as_bytes(), &[0xed, 0xa0, 0x80]),
    ];
    if is_changed.contains(&true) { StoredDocument::Raw(bytes) } else { document.clone().into() }
}

/// Whether there was anything to replace. Both have the same length.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) -> bool {
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    for at in &places {
        bytes[*at..at + to.len()].copy_from_slice(to);
    }
    !places.is_empty()
}

#[cfg(test)]
mod tests {
    use bson::{RawDocument, doc};

    use super::*;

    #[test]
    fn stand_ins_become_what_no_document_holds() {
        let document = doc! { "_id": 1, "values": { "10": "€", "qZ": 5 }, "valueZ": {} };
        let StoredDocument::Raw(bytes) = patched(&document) else { panic!("nothing was replaced") };
        let raw = RawDocument::from_bytes(&bytes).expect("a frame");
        let names: Vec<&str> =
            raw.iter_elements().map(|field| field.expect("a field").key().as_str()).collect();
        assert_eq!(names, ["_id", "values", "values"]);
        assert!(bytes.windows(4).any(|text| text == [0xed, 0xa0, 0x80, 0]));
        assert!(matches!(patched(&doc! { "_id": 1, "values": {} }), StoredDocument::Bson(_)));
    }

    #[test]
    fn each_bucket_can_be_changed() {
        let document =
            doc! { "values": { "0": { "values": { "1": { "values": {} } } }, "2": { "values": {} } } };
        assert_eq!(count_buckets(&document), 4);
        for number in 0..4 {
            let mut changed = document.clone();
            let mut times = 0;
            change_bucket(&mut changed, &mut number.clone(), &mut |bucket| {
                bucket.insert("count", 1);
                times += 1;
            });
            assert_eq!(times, 1, "bucket {number}");
            assert_eq!(changed.to_string().matches("count").count(), 1);
        }
    }
}
