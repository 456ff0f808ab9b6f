//! Uploads whose parts must have one size, except for the last one, as Cloudflare R2 demands it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, Method, Request, Response};
use s3s::Body;

/// The sizes of the parts of each upload, by number.
#[derive(Debug, Clone, Default)]
pub(super) struct EqualParts {
    uploads: Arc<Mutex<HashMap<String, BTreeMap<u32, u64>>>>,
}

impl EqualParts {
    /// The answer to a request to complete an upload of unequal parts; `None` for other requests.
    pub(super) fn refuse<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let query = request.uri().query()?;
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let upload_id = value("uploadId")?.to_owned();
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if *request.method() == Method::PUT {
            let number = value("partNumber")?.parse().ok()?;
            uploads.entry(upload_id).or_default().insert(number, size(request.headers())?);
            return None;
        }
        if *request.method() != Method::POST || are_equal(uploads.get(&upload_id)?) {
            return None;
        }
        let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>InvalidPart</Code>\
                    <Message>All non-trailing parts must have the same length.</Message></Error>";
        let answer = Response::builder().status(400).header("content-type", "application/xml");
        answer.body(Body::from(body.to_owned())).ok()
    }
}

/// The size of a part's content.
fn size(headers: &HeaderMap) -> Option<u64> {
    let decoded = headers.get("x-amz-decoded-content-length");
    decoded.or_else(|| headers.get("content-length"))?.to_str().ok()?.parse().ok()
}

/// Whether all parts have the size of the first one, and the last one at most that size.
fn are_equal(parts: &BTreeMap<u32, u64>) -> bool {
    let sizes: Vec<u64> = parts.values().copied().collect();
    match sizes.split_last() {
        Some((last, others)) => {
            let first = others.first().unwrap_or(last);
            others.iter().all(|size| size == first) && last <= first
        }
        None => true,
    }
}
