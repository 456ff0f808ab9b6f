//! Evidence from the database, the bucket and the broker.

use std::collections::BTreeSet;

use bson::Document;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::evidence::{Evidence, Poison, Write};
use super::record::History;
use super::rest::Rest;
use super::results::read_back;
use super::stage::Stage;
use crate::state_of;

/// Number of results that are read concurrently.
const AT_A_TIME: usize = 4;
/// Prefix of the keys of results.
const KEY_PREFIX: &str = "exports/";

/// Present and past content of the bucket besides results.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeftOver {
    /// Objects that no job names.
    pub spare_objects: usize,
    /// Uploads of several parts that were begun.
    pub uploads: usize,
    /// Multipart uploads that were neither completed nor aborted.
    pub left_uploads: usize,
}

impl Stage {
    /// All evidence, once everything is at rest.
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
        let named = jobs.iter().filter(|job| job.get_str("exportUri").is_ok() || state_of(job) == "FINISHED");
        let mut read = stream::iter(named).map(|job| read_back(deployment, job)).buffered(AT_A_TIME);
        while let Some(read) = read.next().await {
            let found = references.judge(deployment, &read).await;
            evidence.results.insert(read.job_id, found);
        }
        drop(read);
        evidence.jobs = jobs;
        let notes = self.notes();
        evidence.accepted.clone_from(&notes.accepted);
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

    /// Writes of whole objects to this deployment's bucket, from the object store's own log.
    async fn writes(&self) -> Vec<Write> {
        let log = self.servers.s3.lock().await.access_log();
        let start = self.bucket_path();
        log.lines().filter_map(|line| write_of(line, &start)).collect()
    }

    fn bucket_path(&self) -> String {
        format!("/{}/", self.deployment.space.bucket)
    }

    /// Uploads that were begun, and those of them that were neither completed nor aborted, from the
    /// same log: the server cannot list them.
    async fn uploads(&self) -> (usize, usize) {
        let log = self.servers.s3.lock().await.access_log();
        let start = self.bucket_path();
        let (mut begun, mut open) = (0, BTreeSet::new());
        for line in log.lines() {
            let Some((key, step)) = upload_step_of(line, &start) else { continue };
            match step {
                UploadStep::Begun => {
                    begun += 1;
                    open.insert(key);
                }
                UploadStep::Ended => {
                    open.remove(&key);
                }
            }
        }
        (begun, open.len())
    }

    /// Objects that no job names, and uploads that were neither completed nor aborted: left by
    /// attempts whose workers were killed or had lost their job.
    pub(super) async fn left_over(&self, evidence: &Evidence) -> LeftOver {
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
        let spare_objects = keys.iter().filter(|key| !is_named(key)).count();
        let (uploads, left_uploads) = self.uploads().await;
        LeftOver { spare_objects, uploads, left_uploads }
    }
}

fn body_of(letter: &Document) -> Vec<u8> {
    letter.get_binary_generic("body").cloned().unwrap_or_default()
}

/// The outcome of an upload of several parts.
#[derive(Debug, PartialEq, Eq)]
enum UploadStep {
    Begun,
    Ended,
}

/// A log line that begins or ends an upload of several parts below `start`. Each upload has its own
/// key.
fn upload_step_of(line: &str, start: &str) -> Option<(String, UploadStep)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let query = line["query"].as_str()?;
    let is_done = (200..300).contains(&line["status"].as_u64()?);
    let step = match line["method"].as_str()? {
        "POST" | "DELETE" if query.contains("uploadId=") => UploadStep::Ended,
        "POST" if query.contains("uploads") => UploadStep::Begun,
        _ => return None,
    };
    let key = line["path"].as_str()?.strip_prefix(start)?;
    is_done.then(|| (key.to_owned(), step))
}

/// A log line about a whole object below `start`: a `PUT` that is not a part, or the completion of
/// an upload.
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
        let step = |line: String| upload_step_of(&line, "/b/").map(|(_, step)| step);
        assert_eq!(step(line("POST", "/b/x", "uploads=")), Some(UploadStep::Begun));
        assert_eq!(step(line("POST", "/b/x", "uploadId=1")), Some(UploadStep::Ended));
        assert_eq!(step(line("DELETE", "/b/x", "uploadId=1")), Some(UploadStep::Ended));
        assert_eq!(step(line("PUT", "/b/x", "uploadId=1")), None);
        let key = |line: String| write_of(&line, "/b/").map(|write| write.key);
        assert_eq!(key(line("PUT", "/b/exports/x", "")), Some("exports/x".to_owned()));
        assert_eq!(key(line("POST", "/b/x", "uploadId=1")), Some("x".to_owned()));
        assert_eq!(key(line("PUT", "/b/x", "partNumber=1&uploadId=1")), None);
        assert_eq!(key(line("POST", "/b/x", "uploads")), None);
        assert_eq!(key(line("PUT", "/c/x", "")), None);
        assert_eq!(key(line("PUT", "/b/", "")), None);
    }
}
