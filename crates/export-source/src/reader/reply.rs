//! Splits the server's reply into documents without copying.

use bson::{Bson, RawDocument};
use bytes::Bytes;
use export_mongo::StoreError;
use mongodb::raw_batch_cursor::RawBatch;

use super::{MAX_BATCH_DOCUMENTS, unreadable};
use crate::gate::Reservation;

/// The documents of one reply.
pub(super) struct Reply {
    pub(super) documents: Vec<Bytes>,
    /// `_id` of the last document; `None` when there are no documents.
    pub(super) last_id: Option<Bson>,
    /// Whether the reply is complete: the server kept no cursor for the rest.
    pub(super) is_whole: bool,
}

/// Owns a reply together with the reservation of its bytes at the gate.
struct CountedReply {
    reply: RawBatch,
    _reservation: Reservation,
}

impl AsRef<[u8]> for CountedReply {
    fn as_ref(&self) -> &[u8] {
        self.reply.as_raw_document().as_bytes()
    }
}

impl Reply {
    pub(super) fn split(reply: RawBatch, reservation: Reservation) -> Result<Self, StoreError> {
        let whole = Bytes::from_owner(CountedReply { reply, _reservation: reservation });
        let cursor = RawDocument::from_bytes(&whole).map_err(unreadable)?;
        let cursor = cursor.get_document("cursor").map_err(unreadable)?;
        let batch = cursor.get_array("firstBatch").map_err(unreadable)?;
        let mut documents = Vec::with_capacity(MAX_BATCH_DOCUMENTS);
        let mut last = None;
        for element in batch {
            let document = element.map_err(unreadable)?.as_document();
            let document = document.ok_or_else(|| unreadable("an element of a batch is no document"))?;
            documents.push(whole.slice_ref(document.as_bytes()));
            last = Some(document);
        }
        let last_id = last.map(stored_id).transpose()?;
        let is_whole = cursor.get_i64("id").map_err(unreadable)? == 0;
        Ok(Self { documents, last_id, is_whole })
    }
}

fn stored_id(document: &RawDocument) -> Result<Bson, StoreError> {
    let id = document.get("_id").map_err(unreadable)?.ok_or_else(|| unreadable("a document has no _id"))?;
    Bson::try_from(id).map_err(unreadable)
}
