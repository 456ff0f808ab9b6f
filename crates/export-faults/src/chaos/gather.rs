//! Evidence from the database, the bucket and the broker.

use std::collections::BTreeSet;

use bson::Document;
use serde_json::Value;

use super::evidence::{Evidence, Poison, Write};
use super::record::History;
use super::rest::Rest;
use super::results::read_back;
use super::stage::Stage;
use crate::state_of;

/// What the keys of results begin with.
const KEY_PREFIX: &str = "exports/";

impl Stage {
    /// Everything that is known, once all is at rest.
    pub(super) async fn evidence(&self, history: History, rest: Rest) -> Evidence {
        let deployment = &self.deployment;
        let jobs = deployment.all_jobs().await;
        let mut evidence = Evidence {
            history,
            left_in_queues: rest.left_in_queues,
            writes: self.writes().await,
            dead_letters: deployment.dead_letters().await.iter().map(body_of).collect(),
            bucket: deployment.space.bucket.clone(),
            key_prefix: KEY_PREFIX.to_owned(),
            ..Evidence::default()
        };
        let mut references = self.servers.references.lock().await;
        for job in jobs.iter().filter(|job| job.get_str("exportUri").is_ok() || state_of(job) == "FINISHED") {
            let found = read_back(deployment, &mut references, job).await;
            evidence.results.insert(job.get_str("_id").unwrap_or_default().to_owned(), found);
        }
        evidence.jobs = jobs;
        let notes = self.notes();
        evidence.told.clone_from(&notes.told);
        evidence.cancelled.clone_from(&notes.cancelled);
        evidence.unknown.clone_from(&notes.unknown);
        let last_loss = notes.losses.iter().max();
        let poison = notes.poison.iter().map(|(body, sent_at)| Poison {
            body: body.clone(),
            may_be_lost: last_loss.is_some_and(|loss| loss >= sent_at),
        });
        evidence.poison = poison.collect();
        evidence
    }

    /// Writes of whole objects to this deployment's bucket, by the object store's own log.
    async fn writes(&self) -> Vec<Write> {
        let log = self.servers.s3.lock().await.access_log();
        let start = format!("/{}/", self.deployment.space.bucket);
        log.lines().filter_map(|line| write_of(line, &start)).collect()
    }

    /// Objects that no job names, and uploads that were neither completed nor aborted: what is left of attempts whose workers were
    /// killed, or had lost their job.
    pub(super) async fn left_over(&self, evidence: &Evidence) -> (usize, usize) {
        let space = &self.deployment.space;
        let start = format!("s3://{}/", space.bucket);
        let places: BTreeSet<&str> = evidence
            .jobs
            .iter()
            .filter_map(|job| job.get_str("exportUri").ok()?.strip_prefix(&start))
            .collect();
        let keys = space.object_keys().await;
        let is_named = |key: &&String| {
            let folder = key.rfind('/').map_or("", |end| &key[..=end]);
            places.contains(key.as_str()) || places.contains(folder)
        };
        let unnamed = keys.iter().filter(|key| !is_named(key)).count();
        let uploads = space.s3.list_multipart_uploads().bucket(&space.bucket).send().await;
        (unnamed, uploads.map_or(0, |uploads| uploads.uploads().len()))
    }
}

fn body_of(letter: &Document) -> Vec<u8> {
    letter.get_binary_generic("body").cloned().unwrap_or_default()
}

/// A line of the log, if it is about a whole object below `start`: a `PUT` that is no part, or the completion of an upload.
fn write_of(line: &str, start: &str) -> Option<Write> {
    let line: Value = serde_json::from_str(line).ok()?;
    let query = line["query"].as_str()?;
    let is_write = match line["method"].as_str()? {
        "PUT" => !query.contains("partNumber="),
        "POST" => query.contains("uploadId="),
        _ => false,
    };
    let key = line["path"].as_str()?.strip_prefix(start).filter(|key| is_write && !key.is_empty())?;
    Some(Write {
        key: key.to_owned(),
        status: u16::try_from(line["status"].as_u64()?).ok()?,
        is_create_only: line["isCreateOnly"].as_bool()?,
        span_us: (line["fromUs"].as_u64()?, line["toUs"].as_u64()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_objects_of_the_bucket_count() {
        let line = |method: &str, path: &str, query: &str| {
            format!(
                r#"{{"method":"{method}","path":"{path}","query":"{query}","status":200,"isCreateOnly":true,"fromUs":1,"toUs":2}}"#
            )
        };
        let key = |line: String| write_of(&line, "/b/").map(|write| write.key);
        assert_eq!(key(line("PUT", "/b/exports/x", "")), Some("exports/x".to_owned()));
        assert_eq!(key(line("POST", "/b/x", "uploadId=1")), Some("x".to_owned()));
        assert_eq!(key(line("PUT", "/b/x", "partNumber=1&uploadId=1")), None);
        assert_eq!(key(line("POST", "/b/x", "uploads")), None);
        assert_eq!(key(line("PUT", "/c/x", "")), None);
        assert_eq!(key(line("PUT", "/b/", "")), None);
    }
}
