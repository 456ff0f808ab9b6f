//! Every version of every job document, in order, from a change stream.

use std::collections::BTreeMap;
use std::time::Duration;

use bson::{Document, doc};
use futures_util::StreamExt as _;
use mongodb::Database;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::{ChangeStreamEvent, OperationType, ResumeToken};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The collection whose first document ends the record.
const END: &str = "chaosEnd";
/// Longest wait for that document.
const ENDING: Duration = Duration::from_mins(1);
/// Delay before the stream is opened again.
const PAUSE: Duration = Duration::from_millis(200);

type Changes = ChangeStream<ChangeStreamEvent<Document>>;

/// Versions by job; `None` is a deletion.
pub(super) type History = BTreeMap<String, Vec<Option<Document>>>;

/// A record in progress, connected without a proxy.
pub(super) struct Record {
    database: Database,
    following: JoinHandle<History>,
}

impl Record {
    /// Begins before there is any job. Panics when the database refuses.
    pub(super) async fn of(database: Database) -> Self {
        let changes = database.watch().await.unwrap_or_else(|error| panic!("no change stream: {error}"));
        let following = tokio::spawn(follow(database.clone(), changes));
        Self { database, following }
    }

    /// All changes so far. Panics when the database fails.
    pub(super) async fn ended(self) -> History {
        let end = self.database.collection::<Document>(END).insert_one(doc! {}).await;
        end.unwrap_or_else(|error| panic!("the record cannot be ended: {error}"));
        let history = timeout(ENDING, self.following).await;
        let history = history.unwrap_or_else(|_| panic!("the record does not end"));
        history.unwrap_or_else(|error| panic!("{error}"))
    }
}

async fn follow(database: Database, mut changes: Changes) -> History {
    let mut history = History::new();
    // With the resume token no version is repeated or lost after an interruption.
    let mut place: Option<ResumeToken> = changes.resume_token();
    loop {
        match changes.next().await {
            Some(Ok(event)) => {
                place = Some(event.id.clone());
                match event.ns.as_ref().and_then(|namespace| namespace.coll.as_deref()) {
                    Some(END) => return history,
                    Some("jobs") => note(&mut history, event),
                    _ => {}
                }
            }
            Some(Err(_)) | None => changes = reopened(&database, place.clone()).await,
        }
    }
}

/// Bounded by the wait for the record's end.
async fn reopened(database: &Database, place: Option<ResumeToken>) -> Changes {
    loop {
        sleep(PAUSE).await;
        if let Ok(changes) = database.watch().resume_after(place.clone()).await {
            return changes;
        }
    }
}

fn note(history: &mut History, event: ChangeStreamEvent<Document>) {
    let id = event.document_key.as_ref().and_then(|key| key.get_str("_id").ok()).unwrap_or_default();
    let versions = history.entry(id.to_owned()).or_default();
    let version = match event.operation_type {
        OperationType::Insert | OperationType::Replace => event.full_document,
        OperationType::Update => {
            let mut job = versions.last().cloned().flatten().unwrap_or_default();
            if let Some(update) = event.update_description {
                for field in update.removed_fields {
                    job.remove(field);
                }
                for (path, value) in update.updated_fields {
                    set(&mut job, &path, value);
                }
            }
            Some(job)
        }
        OperationType::Delete => None,
        _ => return,
    };
    versions.push(version);
}

/// Sets a field, or a field of a nested document.
fn set(document: &mut Document, path: &str, value: bson::Bson) {
    match path.split_once('.') {
        Some((field, rest)) => {
            if let Ok(inner) = document.get_document_mut(field) {
                set(inner, rest, value);
            }
        }
        None => {
            document.insert(path, value);
        }
    }
}
