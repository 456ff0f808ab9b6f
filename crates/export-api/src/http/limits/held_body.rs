//! Holds a permit until the body of an answer has been sent.

use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// Holds `permit` until the body of the answer has been sent or dropped. An event stream has a
/// permit of its own kind, so it releases this one at once.
pub(super) fn hold_until_sent(response: Response, permit: impl Debug + Send + Unpin + 'static) -> Response {
    let media_type = response.headers().get(header::CONTENT_TYPE);
    if media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(EVENT_STREAM)) {
        return response;
    }
    response.map(|body| Body::new(HeldBody { body, _permit: permit }))
}

#[derive(Debug)]
struct HeldBody<P> {
    body: Body,
    _permit: P,
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
    fn a_permit_is_held_until_the_body_is_sent_except_by_an_event_stream() {
        let permit = Arc::new(());
        let answer = hold_until_sent("text".into_response(), permit.clone());
        assert_eq!((Arc::strong_count(&permit), answer.body().size_hint().exact()), (2, Some(4)));
        drop(answer);
        assert_eq!(Arc::strong_count(&permit), 1);
        let stream = ([(header::CONTENT_TYPE, "text/event-stream")], "data: \n\n").into_response();
        let _stream = hold_until_sent(stream, permit.clone());
        assert_eq!(Arc::strong_count(&permit), 1);
    }
}
