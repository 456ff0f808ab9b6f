//! The requests of one connection, from the head of each to the delivery of its answer.

use std::any::Any;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::Version;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::delivery::{Delivery, DeliveryLimits};

/// Maximum size of a chunk of an answer in bytes: one frame of HTTP/2. Deliveries are measured by
/// the chunk.
const CHUNK_BYTES: usize = 16 * 1024;

/// The requests of one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// `None` while the service works on the answer.
    requests: HashMap<u64, Option<Delivery>>,
    next_id: u64,
    /// HTTP version of the last request.
    version: Option<Version>,
    /// Time at which the last request began or ended.
    changed_at: Instant,
}

impl Activity {
    pub(super) fn new() -> Self {
        let state = State { requests: HashMap::new(), next_id: 0, version: None, changed_at: Instant::now() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request as open until the returned value is dropped.
    pub(super) fn request(&self, version: Version) -> OpenRequest {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.requests.insert(id, None);
        (state.version, state.changed_at) = (Some(version), Instant::now());
        drop(state);
        OpenRequest { activity: self.clone(), id }
    }

    /// Whether a request is open.
    pub(super) fn has_request(&self) -> bool {
        !self.lock().requests.is_empty()
    }

    /// Whether the client has sent no request for longer than allowed: before the first one or
    /// between two.
    ///
    /// Between HTTP/1 requests the timeout of the HTTP library applies, because the library knows
    /// when the answer is sent.
    pub(super) fn is_idle(&self, first_request: Duration, next_request: Duration) -> bool {
        let state = self.lock();
        let allowed = match state.version {
            _ if !state.requests.is_empty() => return false,
            None => first_request,
            Some(Version::HTTP_2) => next_request,
            Some(_) => return false,
        };
        state.changed_at.elapsed() >= allowed
    }

    /// Whether the client takes an answer more slowly than the limits allow. With `all`, whether
    /// that is so for every open request.
    pub(super) fn is_stalled(&self, limits: DeliveryLimits, all: bool) -> bool {
        let (state, now) = (self.lock(), Instant::now());
        let is_stalled = |delivery: &Option<Delivery>| {
            delivery.as_ref().is_some_and(|delivery| delivery.is_stalled(now, limits))
        };
        let mut requests = state.requests.values();
        if all { !state.requests.is_empty() && requests.all(is_stalled) } else { requests.any(is_stalled) }
    }
}

/// A request whose answer is not delivered.
#[derive(Debug)]
pub(super) struct OpenRequest {
    activity: Activity,
    id: u64,
}

impl OpenRequest {
    fn change(&self, change: impl FnOnce(&mut Delivery, Instant)) {
        let (mut state, now) = (self.activity.lock(), Instant::now());
        if let Some(request) = state.requests.get_mut(&self.id) {
            change(request.get_or_insert_with(|| Delivery::new(now)), now);
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.requests.remove(&self.id);
        state.changed_at = Instant::now();
    }
}

/// An answer that is being delivered, with what is held until then: permits of limits.
#[derive(Debug)]
struct OpenAnswer {
    request: OpenRequest,
    _held: Option<Arc<dyn Any + Send + Sync>>,
}

/// The body of an answer, in chunks. Its request is open until the last chunk is delivered.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: Body,
    /// The part of the last piece of `body` that the HTTP library has not taken.
    rest: Bytes,
    answer: Arc<OpenAnswer>,
}

impl AnswerBody {
    pub(super) fn new(body: Body, request: OpenRequest, held: Option<Arc<dyn Any + Send + Sync>>) -> Self {
        // From here on the answer waits for the client, even if the library does not ask for it.
        request.change(|_, _| {});
        Self { body, rest: Bytes::new(), answer: Arc::new(OpenAnswer { request, _held: held }) }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Pending => {
                    self.answer.request.change(|delivery, _| delivery.drained());
                    return Poll::Pending;
                }
                ended @ Poll::Ready(_) => return ended,
            }
        }
        let length = self.rest.len().min(CHUNK_BYTES);
        let bytes = self.rest.split_to(length);
        self.answer.request.change(Delivery::chunk_taken);
        let chunk = Chunk { bytes, answer: self.answer.clone() };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, of_body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// A part of an answer that the HTTP library has taken. Dropped when it is delivered, or when the
/// request ends early.
struct Chunk {
    bytes: Bytes,
    answer: Arc<OpenAnswer>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let bytes = self.bytes.len();
        self.answer.request.change(|delivery, now| delivery.chunk_delivered(now, bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const NOW: Duration = Duration::ZERO;
    const LATER: Duration = Duration::from_hours(1);
    /// Every answer that waits for its client is too slow.
    const NO_PATIENCE: DeliveryLimits = DeliveryLimits { max_stall: NOW, lowest_bytes_per_second: 1 };

    async fn next(body: &mut AnswerBody) -> Option<Bytes> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        frame.map(|frame| frame.expect("no error").into_data().expect("data"))
    }

    #[tokio::test]
    async fn a_request_is_open_until_its_last_chunk_is_delivered() {
        let activity = Activity::new();
        assert!(activity.is_idle(NOW, LATER) && !activity.is_idle(LATER, NOW));

        let request = activity.request(Version::HTTP_2);
        assert!(!activity.is_idle(NOW, NOW) && !activity.is_stalled(NO_PATIENCE, false), "in progress");
        let held = Arc::new(());
        let text = "a".repeat(CHUNK_BYTES) + "b";
        let mut body = AnswerBody::new(Body::from(text), request, Some(held.clone()));
        assert_eq!(body.size_hint().exact(), Some(CHUNK_BYTES as u64 + 1));
        assert!(activity.is_stalled(NO_PATIENCE, false), "no chunk was taken");
        let first = next(&mut body).await.expect("a chunk");
        assert_eq!((first.len(), body.size_hint().exact()), (CHUNK_BYTES, Some(1)));
        let last = next(&mut body).await.expect("a chunk");
        assert!(body.is_end_stream() && next(&mut body).await.is_none());
        drop((body, first));
        assert!(activity.has_request() && activity.is_stalled(NO_PATIENCE, true));
        assert_eq!(Arc::strong_count(&held), 2);
        drop(last);
        assert!(!activity.has_request() && !activity.is_stalled(NO_PATIENCE, true));
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(activity.is_idle(LATER, NOW) && !activity.is_idle(NOW, LATER));
        drop(activity.request(Version::HTTP_11));
        assert!(!activity.is_idle(NOW, NOW), "the library's own timeout applies");
    }

    #[test]
    fn c1_one_answer_that_is_not_read_is_enough_unless_all_must_be() {
        let activity = Activity::new();
        let _working = activity.request(Version::HTTP_2);
        let _unread = AnswerBody::new(Body::from("a"), activity.request(Version::HTTP_2), None);
        assert!(activity.is_stalled(NO_PATIENCE, false) && !activity.is_stalled(NO_PATIENCE, true));
    }
}
