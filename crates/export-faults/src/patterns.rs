//! The steps of the protocol as bytes on the wire.

use export_testkit::proxy::Pattern;

/// Class and method of AMQP, as at the beginning of a frame's payload.
fn amqp(class: u8, method: u8) -> Pattern {
    Pattern::any().containing([0, class, 0, method])
}

/// The API publishes a job's message, or later the event of its end (client to server).
pub fn publish() -> Pattern {
    amqp(60, 40)
}

/// The broker confirms (server to client), or a worker acknowledges (client to server).
pub fn ack() -> Pattern {
    amqp(60, 80)
}

/// A worker nacks a delivery (client to server).
pub fn nack() -> Pattern {
    amqp(60, 120)
}

/// The broker delivers (server to client).
pub fn deliver() -> Pattern {
    amqp(60, 60)
}

/// The broker closes a channel because of an error (server to client).
pub fn close_channel() -> Pattern {
    amqp(20, 40)
}

/// An upload in parts begins (request).
pub fn create_upload() -> Pattern {
    Pattern::starting("POST /").containing("?uploads")
}

/// A part is uploaded (request).
pub fn upload_part() -> Pattern {
    Pattern::starting("PUT /").containing("partNumber=")
}

/// An upload in parts is completed (request).
pub fn complete_upload() -> Pattern {
    Pattern::starting("POST /").containing("uploadId=")
}

/// An upload in parts is aborted (request).
pub fn abort_upload() -> Pattern {
    Pattern::starting("DELETE /").containing("uploadId=")
}

/// An object is stored by one request.
pub fn put_object() -> Pattern {
    Pattern::starting("PUT /").containing("x-id=PutObject")
}

/// A worker finishes the result that it has written (request to MongoDB).
pub fn finish_result() -> Pattern {
    // Only a result has it, and only from now on.
    command("findAndModify", "sourceState")
}

/// A worker commits a job with a finished result (request to MongoDB).
pub fn commit() -> Pattern {
    command("findAndModify", "FINISHED").containing("exportUri")
}

/// A worker asks for the next batch of a collection that it has begun to read (request to MongoDB).
pub fn next_batch() -> Pattern {
    // After the last document read. Only reads of the vehicles also have a batch size.
    command("find", "$gt\0").containing("batchSize\0")
}

/// A command of MongoDB's, such as `insert` or `getMore`, that contains a text, such as the name of
/// a collection or a state (request).
pub fn command(name: &str, containing: &str) -> Pattern {
    // Commands are documents: the element's name ends with a zero.
    Pattern::any().containing([name.as_bytes(), b"\0"].concat()).containing(containing)
}
