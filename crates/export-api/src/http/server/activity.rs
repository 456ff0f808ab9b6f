//! Detects connections on which nothing happens.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::Version;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// The activity of one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Requests whose answers are not complete.
    open: usize,
    /// Answers that wait for their clients: the HTTP library has taken a chunk and not yet asked
    /// for the next one.
    waiting: usize,
    /// HTTP version of the last request.
    version: Option<Version>,
    /// Time of the last change of the number of open requests, or of the last chunk of an answer.
    changed_at: Instant,
}

impl Activity {
    pub(super) fn new() -> Self {
        let state = State { open: 0, waiting: 0, version: None, changed_at: Instant::now() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.changed_at = Instant::now();
    }

    /// Counts a request as open until the returned value is dropped.
    pub(super) fn request(&self, version: Version) -> OpenRequest {
        self.change(|state| {
            state.open += 1;
            state.version = Some(version);
        });
        OpenRequest { activity: self.clone(), is_waiting: false }
    }

    /// Whether a request is open.
    pub(super) fn has_request(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).open > 0
    }

    /// Whether the client has done nothing for longer than allowed: before the first request,
    /// between requests, or while it does not read its answer.
    ///
    /// A request in progress and an event stream without events wait for the service, so they are
    /// not idle. Between HTTP/1 requests the timeout of the HTTP library applies, because the
    /// library knows when the answer is sent.
    pub(super) fn is_idle(&self, first_request: Duration, next_request: Duration, stall: Duration) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = match (state.open, state.version) {
            (0, None) => first_request,
            (0, Some(Version::HTTP_2)) => next_request,
            (0, Some(_)) => return false,
            _ if state.waiting == state.open => stall,
            _ => return false,
        };
        state.changed_at.elapsed() >= allowed
    }
}

/// A request whose answer is not complete.
#[derive(Debug)]
pub(super) struct OpenRequest {
    activity: Activity,
    is_waiting: bool,
}

impl OpenRequest {
    fn set_waiting(&mut self, is_waiting: bool) {
        let was_waiting = std::mem::replace(&mut self.is_waiting, is_waiting);
        self.activity.change(|state| {
            state.waiting = state.waiting + usize::from(is_waiting) - usize::from(was_waiting);
        });
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let was_waiting = self.is_waiting;
        self.activity.change(|state| {
            state.open -= 1;
            state.waiting -= usize::from(was_waiting);
        });
    }
}

/// The body of an answer. Its request is open until the HTTP library has taken the last chunk.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: Body,
    request: OpenRequest,
}

impl AnswerBody {
    pub(super) fn new(body: Body, request: OpenRequest) -> Self {
        Self { body, request }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.request.set_waiting(matches!(polled, Poll::Ready(Some(Ok(_)))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const NOW: Duration = Duration::ZERO;
    const LATER: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn idle_between_requests_and_while_no_client_reads() {
        let activity = Activity::new();
        assert!(activity.is_idle(NOW, LATER, LATER) && !activity.is_idle(LATER, NOW, NOW));

        let request = activity.request(Version::HTTP_2);
        assert!(!activity.is_idle(NOW, NOW, NOW), "a request is in progress");
        let chunks = futures_util::stream::iter(["a", "b"].map(Ok::<_, std::io::Error>));
        let mut body = AnswerBody::new(Body::from_stream(chunks), request);
        for _ in 0..2 {
            let chunk = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            assert!(chunk.is_some_and(|chunk| chunk.is_ok()));
            assert!(activity.is_idle(LATER, LATER, NOW) && !activity.is_idle(NOW, NOW, LATER));
        }
        let other = activity.request(Version::HTTP_2);
        assert!(!activity.is_idle(NOW, NOW, NOW), "another request is in progress");
        drop(other);
        drop(body);
        assert!(!activity.has_request());
        assert!(activity.is_idle(LATER, NOW, LATER) && !activity.is_idle(NOW, LATER, NOW));
        drop(activity.request(Version::HTTP_11));
        assert!(!activity.is_idle(NOW, NOW, NOW), "the library's own timeout applies");
    }
}
