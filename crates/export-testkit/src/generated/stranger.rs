//! Documents that only a dump can hold: no query for a range of `_id`s returns them, or no server
//! stores them.

use crate::hour::HourBuilder;
use crate::reference::StoredDocument;
use bson::{Bson, Document, doc};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const HOUR_MS: i64 = 3_600_000;

/// One such document. Documents with an `_id` of their own start within two hours of the range's
/// start, on a half hour.
#[derive(Clone, Debug)]
pub(super) struct Stranger {
    kind: Kind,
    half_hours: i64,
}

#[derive(Clone, Debug)]
enum Kind {
    TextId,
    LongTextId,
    NoId,
    NotANumberId,
    NullId,
    ObjectId,
    DocumentId,
    FractionId,
    /// A good document, perhaps with the `_id` of another one.
    Again,
    /// As many nested buckets as are allowed.
    Deep,
    /// One bucket more than is allowed.
    TooDeep,
    /// Five bytes.
    Empty,
    /// Where the first element should begin, there is none.
    BrokenBeforeId,
    /// The closing byte is not zero.
    Unclosed,
    /// An unknown type in a bucket, after a readable `_id`.
    BrokenBucket,
    /// A text in a bucket whose stated length exceeds the document.
    BrokenLength,
    /// The closing byte of a bucket is not zero.
    UnclosedBucket,
    /// A bucket that ends in the middle of an element.
    CutBucket,
    /// A boolean that is neither true nor false.
    NoBoolean,
    /// A text without its closing byte.
    OpenText,
    /// Two points with one key in one bucket.
    TwiceTheKey,
    /// Two fields `_id`, the first or the second one of which may be a text.
    TwiceTheId(bool, bool),
    /// Any bytes at any places.
    Changed(Vec<(Index, u8)>),
}

pub(super) fn stranger() -> impl Strategy<Value = Stranger> {
    let kind = select(vec![
        Kind::TextId,
        Kind::LongTextId,
        Kind::NoId,
        Kind::NotANumberId,
        Kind::NullId,
        Kind::ObjectId,
        Kind::DocumentId,
        Kind::FractionId,
        Kind::Again,
        Kind::Deep,
        Kind::TooDeep,
        Kind::Empty,
        Kind::BrokenBeforeId,
        Kind::Unclosed,
        Kind::BrokenBucket,
        Kind::BrokenLength,
        Kind::UnclosedBucket,
        Kind::CutBucket,
        Kind::NoBoolean,
        Kind::OpenText,
        Kind::TwiceTheKey,
    ]);
    let meaningful = select(b"\x00\x01\x02\x03\x04\x05\x08\x0a\x10\x12\x13\xff0-9v".to_vec());
    let changes = vec((any::<Index>(), prop_oneof![meaningful, any::<u8>()]), 1..5);
    let kind = prop_oneof![
        6 => kind,
        1 => (any::<bool>(), any::<bool>()).prop_map(|(first, second)| Kind::TwiceTheId(first, second)),
        4 => changes.prop_map(Kind::Changed),
    ];
    (kind, -4_i64..5).prop_map(|(kind, half_hours)| Stranger { kind, half_hours })
}

impl Stranger {
    /// The document, near the given start of a range.
    pub(super) fn build(self, near_ms: i64) -> StoredDocument {
        let hour_ms = near_ms.div_euclid(HOUR_MS) * HOUR_MS + self.half_hours * HOUR_MS / 2;
        let good =
            HourBuilder::new(hour_ms).points([(hour_ms, 1), (hour_ms + 300, 2), (hour_ms + 500, 3)]).build();
        let with_id = |id: Bson| {
            let mut document = good.clone();
            document.insert("_id", id);
            document.into()
        };
        match self.kind {
            Kind::TextId => with_id(Bson::String(hour_ms.to_string())),
            Kind::LongTextId => with_id(Bson::String("é".repeat(100))),
            Kind::NoId => doc! { "values": { "0": 1 } }.into(),
            Kind::NotANumberId => with_id(Bson::Double(f64::NAN)),
            Kind::NullId => with_id(Bson::Null),
            Kind::ObjectId => with_id(Bson::ObjectId(bson::oid::ObjectId::from_bytes([7; 12]))),
            Kind::DocumentId => with_id(doc! { "hour": hour_ms }.into()),
            #[expect(clippy::cast_precision_loss, reason = "times in tests are far below 2^53 ms")]
            Kind::FractionId => with_id(Bson::Double(hour_ms as f64 + 0.5)),
            Kind::Again => good.into(),
            Kind::Deep => nested(hour_ms, 100).into(),
            Kind::TooDeep => nested(hour_ms, 101).into(),
            Kind::Empty => StoredDocument::Raw(vec![5, 0, 0, 0, 0]),
            Kind::BrokenBeforeId => {
                StoredDocument::Raw(damaged(&good, b"\x12_id\0", |bytes| bytes[0] = 0x55))
            }
            Kind::Unclosed => {
                let mut bytes = encoded(&good);
                *bytes.last_mut().expect("a closing byte") = 1;
                StoredDocument::Raw(bytes)
            }
            Kind::BrokenBucket => StoredDocument::Raw(damaged(&good, b"\x10300\0", |bytes| bytes[0] = 0x55)),
            Kind::BrokenLength => {
                let texts = HourBuilder::new(hour_ms).point(hour_ms + 300, "text").build();
                StoredDocument::Raw(damaged(&texts, b"\x02300\0", |bytes| bytes[5..9].fill(0x7f)))
            }
            Kind::UnclosedBucket => StoredDocument::Raw(damaged(&good, b"\x10500\0", |bytes| bytes[9] = 1)),
            Kind::CutBucket => StoredDocument::Raw(damaged(&good, b"\x10500\0", |bytes| bytes[0] = 0x13)),
            Kind::NoBoolean => {
                let flags = HourBuilder::new(hour_ms).point(hour_ms + 300, true).point(hour_ms + 301, false);
                StoredDocument::Raw(damaged(&flags.build(), b"\x08300\0", |bytes| bytes[5] = 2))
            }
            Kind::OpenText => {
                let texts = HourBuilder::new(hour_ms).point(hour_ms + 300, "text").point(hour_ms + 301, 5);
                StoredDocument::Raw(damaged(&texts.build(), b"\x02300\0", |bytes| bytes[13] = b'!'))
            }
            Kind::TwiceTheKey => StoredDocument::Raw(damaged(&good, b"\x10500\0", |bytes| bytes[1] = b'3')),
            Kind::TwiceTheId(is_first_text, is_second_text) => {
                let id = |is_text| if is_text { Bson::String("x".to_owned()) } else { Bson::Int64(hour_ms) };
                let mut document = doc! { "_id": id(is_first_text), "_ix": id(is_second_text) };
                document.insert("values", good.get("values").cloned());
                StoredDocument::Raw(damaged(&document, b"_ix\0", |bytes| bytes[2] = b'd'))
            }
            Kind::Changed(changes) => {
                let texts = HourBuilder::new(hour_ms).point(hour_ms + 5_000, "text").entry(&["7"], true);
                let texts = texts.points((0..4).map(|second| (hour_ms + second * 900, second))).build();
                let mut bytes = encoded(&texts);
                for (at, byte) in changes {
                    // The length stays, since servers and dump readers check it.
                    let at = 4 + at.index(bytes.len() - 4);
                    bytes[at] = byte;
                }
                StoredDocument::Raw(bytes)
            }
        }
    }
}

/// A point below this many buckets, and one directly in the document.
fn nested(hour_ms: i64, buckets: usize) -> Document {
    let values = (0..buckets).fold(doc! { "0": 1 }, |inner, _| doc! { "0": { "values": inner } });
    doc! { "_id": hour_ms, "values": { "0": values.get("0").cloned(), "7": 1 } }
}

fn encoded(document: &Document) -> Vec<u8> {
    document.to_vec().expect("a document")
}

/// The document's bytes, changed from the start of this element.
fn damaged(document: &Document, element: &[u8], damage: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = encoded(document);
    let at = bytes.windows(element.len()).position(|window| window == element);
    damage(&mut bytes[at.expect("the element")..]);
    bytes
}
