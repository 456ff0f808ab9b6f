//! A place that is held until an answer has been handed over.

use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// The answer, with the place held until its body was handed over or given up. An event stream waits for news and has a place
/// of its own: it gives this one back at once.
pub(super) fn held(response: Response, place: impl Debug + Send + Unpin + 'static) -> Response {
    let media_type = response.headers().get(header::CONTENT_TYPE);
    if media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(EVENT_STREAM)) {
        return response;
    }
    response.map(|body| Body::new(HeldBody { body, _place: place }))
}

#[derive(Debug)]
struct HeldBody<P> {
    body: Body,
    _place: P,
}

impl<P: Unpin> HttpBody for HeldBody<P> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
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
    use std::sync::Arc;

    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn a_place_is_held_as_long_as_the_body_but_not_by_an_event_stream() {
        let place = Arc::new(());
        let answer = held("text".into_response(), place.clone());
        assert_eq!((Arc::strong_count(&place), answer.body().size_hint().exact()), (2, Some(4)));
        drop(answer);
        assert_eq!(Arc::strong_count(&place), 1);
        let stream = ([(header::CONTENT_TYPE, "text/event-stream")], "data: \n\n").into_response();
        let _stream = held(stream, place.clone());
        assert_eq!(Arc::strong_count(&place), 1);
    }
}
