//! Holds a permit until the body of an answer has been sent.

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use http_body_util::BodyExt as _;

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// Holds `permit` until the body of the answer has been sent or dropped. An event stream has a
/// permit of its own kind, so it releases this one at once.
pub(super) fn hold_until_sent(response: Response, permit: impl Send + 'static) -> Response {
    let media_type = response.headers().get(header::CONTENT_TYPE);
    if media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(EVENT_STREAM)) {
        return response;
    }
    // The body owns the closure, and so the permit.
    response.map(|body| {
        Body::new(body.map_err(move |error| {
            let _permit = &permit;
            error
        }))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::response::IntoResponse;
    use hyper::body::Body as _;

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
