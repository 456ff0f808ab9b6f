//! The tag of a job's answer: whoever has the answer already is told so instead of being sent it again.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use export_core::job::Job;
use sha2::{Digest, Sha256};

use super::job_view::JobView;
use super::links::ResultLinks;
use crate::jobs::queue::QueueView;

/// Bytes of a tag: enough that no two versions of one job ever share it.
const TAG_BYTES: usize = 12;
/// An answer with links is another one after this time, although the job is the same: a client that keeps its answer keeps its links,
/// and a link must have time left when it is used. A third of how long links work.
const LINKS_ARE_KEPT_SECONDS: i64 = 300;

/// Names what clients see of a job, but for its links, and of its place in line but for the times, which are another guess each time:
/// two answers with the same version tell the same. The id of its events.
pub(super) fn version(job: &Job, queue: Option<QueueView>) -> String {
    let queue = queue.map(QueueView::only_position);
    let view = serde_json::to_vec(&JobView::of(job, ResultLinks::default()).in_line(queue));
    // A view is made of texts and numbers; were it none, the tag would still change with the state.
    let view = view.unwrap_or_else(|_| job.state.as_str().into());
    URL_SAFE_NO_PAD.encode(&Sha256::digest(view)[..TAG_BYTES])
}

/// The `ETag` of a job's answer at this time. A weak one: links to the same files differ.
pub(super) fn etag(job: &Job, queue: Option<QueueView>, now: DateTime<Utc>) -> String {
    let version = version(job, queue);
    if job.result.is_none() {
        return format!("W/\"{version}\"");
    }
    format!("W/\"{version}-{}\"", now.timestamp() / LINKS_ARE_KEPT_SECONDS)
}

/// Whether the client says in `If-None-Match` that it has this answer. Something that is no tag matches nothing.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let mut lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    lists.any(|list| list.trim() == "*" || tags(list).any(|tag| tag == opaque(etag)))
}

/// The opaque parts of a list of tags, with their quotes, weak or not.
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

    use super::super::links::tests::finished;
    use super::*;

    /// Whoever keeps an answer keeps its links: they must have time left as long as the tag says that nothing has changed.
    #[test]
    fn links_are_not_kept_until_they_are_old() {
        let job = finished("zip");
        let signed_at = DateTime::UNIX_EPOCH;
        let minutes = |minutes| signed_at + TimeDelta::minutes(minutes) - TimeDelta::milliseconds(1);
        let etag = |job: &Job, now| etag(job, None, now);
        let tag = etag(&job, signed_at);
        assert_eq!(etag(&job, minutes(5)), tag, "kept for a while");
        assert_ne!(etag(&job, minutes(6)), tag, "a third of the time that links work");

        let mut waiting = job.clone();
        (waiting.state, waiting.result) = (JobState::NotStarted, None);
        assert_eq!(etag(&waiting, minutes(600)), etag(&waiting, signed_at), "there is no link to grow old");
    }

    #[test]
    fn a_version_changes_with_what_clients_see_and_nothing_else() {
        let job = finished("zip");
        let version = |job: &Job| version(job, None);
        let mut seen = job.clone();
        seen.progress.rows += 1;
        assert_ne!(version(&seen), version(&job));
        let mut unseen = job.clone();
        unseen.epoch += 1;
        assert_eq!(version(&unseen), version(&job));
    }

    /// Whoever asks again wants to hear of a new place, and not that a guess is a second less.
    #[test]
    fn a_version_changes_with_the_place_in_line_but_not_with_guesses() {
        let job = finished("zip");
        let at = |position, seconds| {
            let queue =
                QueueView { position, starts_in_seconds: Some(seconds), eta_seconds: Some(seconds + 1) };
            version(&job, Some(queue))
        };
        assert_eq!(at(7, 1), at(7, 100));
        assert_ne!(at(7, 1), at(6, 1));
        assert_ne!(at(7, 1), version(&job, None));
    }

    fn knows(lists: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(list));
        }
        is_known(&headers, "W/\"a,b\"")
    }

    #[test]
    fn a_tag_is_found_wherever_it_stands() {
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
    fn what_is_no_tag_or_another_one_matches_nothing() {
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
