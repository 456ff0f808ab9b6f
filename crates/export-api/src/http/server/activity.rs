//! Whether anything happens on a connection.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::Version;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// What happens on one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Requests that are not answered to the end.
    open: usize,
    /// Answers of which a piece was handed over and no more was asked for since: their clients are slow, or do not read.
    waiting: usize,
    /// What the last request came by.
    used_by: Option<Version>,
    /// When the number of open requests last changed, or a piece of an answer was asked for.
    moved_at: Instant,
}

impl Activity {
    pub(super) fn new() -> Self {
        let state = State { open: 0, waiting: 0, used_by: None, moved_at: Instant::now() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.moved_at = Instant::now();
    }

    /// A request has come; it is open until what is returned is dropped.
    pub(super) fn request(&self, version: Version) -> OpenRequest {
        self.change(|state| {
            state.open += 1;
            state.used_by = Some(version);
        });
        OpenRequest { activity: self.clone(), is_waiting: false }
    }

    /// Whether a request is open.
    pub(super) fn has_request(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).open > 0
    }

    /// Whether nothing has happened for longer than allowed: before the first request, between requests, or while some client
    /// takes nothing of its answer. A request that is being worked on, and a stream without news, wait for us and not for the
    /// client. Between requests of HTTP/1 the HTTP library has a limit of its own, which knows when the answer is out.
    pub(super) fn is_idle(&self, first_request: Duration, next_request: Duration, stall: Duration) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = match (state.open, state.used_by) {
            (0, None) => first_request,
            (0, Some(Version::HTTP_2)) => next_request,
            (0, Some(_)) => return false,
            _ if state.waiting == state.open => stall,
            _ => return false,
        };
        state.moved_at.elapsed() >= allowed
    }
}

/// One request that is not answered to the end.
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

/// The body of an answer; its request is open until the last piece was handed over.
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
    async fn idle_between_requests_and_while_nobody_reads() {
        let activity = Activity::new();
        assert!(activity.is_idle(NOW, LATER, LATER) && !activity.is_idle(LATER, NOW, NOW));

        let request = activity.request(Version::HTTP_2);
        assert!(!activity.is_idle(NOW, NOW, NOW), "it is being worked on");
        let pieces = futures_util::stream::iter(["a", "b"].map(Ok::<_, std::io::Error>));
        let mut body = AnswerBody::new(Body::from_stream(pieces), request);
        for _ in 0..2 {
            let piece = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            assert!(piece.is_some_and(|piece| piece.is_ok()));
            assert!(activity.is_idle(LATER, LATER, NOW) && !activity.is_idle(NOW, NOW, LATER));
        }
        let other = activity.request(Version::HTTP_2);
        assert!(!activity.is_idle(NOW, NOW, NOW), "another one is being worked on");
        drop(other);
        drop(body);
        assert!(!activity.has_request());
        assert!(activity.is_idle(LATER, NOW, LATER) && !activity.is_idle(NOW, LATER, NOW));
        drop(activity.request(Version::HTTP_11));
        assert!(!activity.is_idle(NOW, NOW, NOW), "the library's own limit holds");
    }
}
