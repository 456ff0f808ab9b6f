//! `ETag` of a job's answer: a client that has the current answer gets 304 instead.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use export_core::job::Job;
use sha2::{Digest, Sha256};

use super::job_view::JobView;
use super::links::ResultLinks;
use crate::jobs::link_cache::LINK_PERIOD_SECONDS;
use crate::jobs::queue::Waiting;

/// Length of a tag in bytes: enough that two versions of one job never collide.
const TAG_BYTES: usize = 12;

/// Hash of the job as clients see it, without links and forecast times: two answers with the same
/// version are equal apart from these. Also the id of the job's events.
pub(super) fn version(job: &Job, waiting: Waiting) -> String {
    let view = JobView::of(job, ResultLinks::default()).with_waiting(job, waiting.only_position());
    let view = serde_json::to_vec(&view.without_sign());
    // Serialization of a view does not fail. If it did, the tag would still change with the state.
    let view = view.unwrap_or_else(|_| job.state.as_str().into());
    URL_SAFE_NO_PAD.encode(&Sha256::digest(view)[..TAG_BYTES])
}

/// The `ETag` of a job's answer at this time. With links it changes with their period although the
/// job is unchanged: a client that keeps its answer keeps its links, and links must have time left
/// when they are used. It is weak, because links to the same files differ.
pub(super) fn etag(job: &Job, waiting: Waiting, now: DateTime<Utc>) -> String {
    let version = version(job, waiting);
    if job.result.is_none() {
        return format!("W/\"{version}\"");
    }
    format!("W/\"{version}-{}\"", now.timestamp() / LINK_PERIOD_SECONDS)
}

/// Whether `If-None-Match` contains the tag. Invalid tags match nothing.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let mut lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    lists.any(|list| list.trim() == "*" || tags(list).any(|tag| tag == opaque(etag)))
}

/// The tags of a list, with quotes, without the prefix of weak tags.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = opaque(rest.trim_start_matches([' ', '\t', ',']));
        let length = rest.strip_prefix('"')?.find('"')? + 2;
        let (tag, after) = rest.split_at(length);
        rest = after;
        Some(tag)
    })
}

fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use chrono::TimeDelta;
    use export_core::job::JobState;

    use crate::jobs::queue::QueueView;

    use super::super::links::tests::finished;
    use super::*;

    /// Links in a cached answer must have time left as long as its tag is current.
    #[test]
    fn a_tag_changes_before_links_expire() {
        let job = finished("zip");
        let signed_at = DateTime::UNIX_EPOCH;
        let minutes = |minutes| signed_at + TimeDelta::minutes(minutes) - TimeDelta::milliseconds(1);
        let etag = |job: &Job, now| etag(job, Waiting::default(), now);
        let tag = etag(&job, signed_at);
        assert_eq!(etag(&job, minutes(5)), tag, "unchanged for some minutes");
        assert_ne!(etag(&job, minutes(6)), tag, "a third of the validity of links");

        let mut waiting = job.clone();
        (waiting.state, waiting.result) = (JobState::NotStarted, None);
        assert_eq!(
            etag(&waiting, minutes(600)),
            etag(&waiting, signed_at),
            "an answer without links does not change"
        );
    }

    #[test]
    fn a_version_changes_with_what_clients_see_and_nothing_else() {
        let job = finished("zip");
        let version = |job: &Job| version(job, Waiting::default());
        let mut seen = job.clone();
        seen.progress.rows += 1;
        assert_ne!(version(&seen), version(&job));
        let mut unseen = job.clone();
        unseen.epoch += 1;
        assert_eq!(version(&unseen), version(&job));
    }

    #[test]
    fn a_version_changes_with_the_queue_position_but_not_with_forecasts() {
        let job = finished("zip");
        let at = |position, seconds| {
            let queue = QueueView {
                position,
                starts_in_seconds: Some(seconds),
                eta_seconds: Some(seconds + 1),
                workers_alive: Some(1),
                worker_seen_at: DateTime::from_timestamp(i64::try_from(seconds).expect("small"), 0),
            };
            version(&job, Waiting { queue: Some(queue), reason: None })
        };
        assert_eq!(at(7, 1), at(7, 100));
        assert_ne!(at(7, 1), at(6, 1));
        assert_ne!(at(7, 1), version(&job, Waiting::default()));
    }

    fn knows(lists: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(list));
        }
        is_known(&headers, "W/\"a,b\"")
    }

    #[test]
    fn a_tag_is_found_anywhere_in_a_list() {
        for lists in [
            &["W/\"a,b\""][..],
            &["\"a,b\""],
            &["*"],
            &[" * "],
            &["\"x\", W/\"a,b\""],
            &["\"x\",\"a,b\",\"y\""],
            &["\"x\"", "\"a,b\""],
            &[", ,\"a,b\""],
        ] {
            assert!(knows(lists), "{lists:?}");
        }
    }

    #[test]
    fn invalid_and_other_tags_match_nothing() {
        for lists in [
            &[][..],
            &[""],
            &["a,b"],
            &["\"a\", \"b\""],
            &["w/\"a,b\""],
            &["\"a,b"],
            &["x \"a,b\""],
            &["\"*\""],
            &["\"a,b \""],
        ] {
            assert!(!knows(lists), "{lists:?}");
        }
    }
}
