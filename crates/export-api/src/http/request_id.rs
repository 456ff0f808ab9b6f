//! The id that ties a request's log lines and its answer together, and what else every answer says.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use uuid::Uuid;

/// The header with it, of requests and of answers.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id of a client's own, in bytes: it goes into every log line.
const MAX_ID_BYTES: usize = 128;

/// Gives the request its id. A client's own is kept where it sends one that can stand in a log.
pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    let id = given(request.headers()).unwrap_or_else(new);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut ids = headers.get_all(REQUEST_ID).iter();
    let (Some(id), None) = (ids.next(), ids.next()) else { return None };
    let is_plain = (1..=MAX_ID_BYTES).contains(&id.len())
        && id.as_bytes().iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    is_plain.then(|| id.clone())
}

fn new() -> HeaderValue {
    HeaderValue::from_str(&Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_can_stand_in_a_log_are_kept() {
        let given = |ids: &[&[u8]]| {
            let ids = ids.iter().map(|id| (REQUEST_ID, HeaderValue::from_bytes(id).expect("a value")));
            super::given(&ids.collect())
        };
        assert_eq!(given(&[b"order 7/\"x\""]), Some(HeaderValue::from_static("order 7/\"x\"")));
        assert!(given(&[&[b'a'; MAX_ID_BYTES]]).is_some());
        for ids in
            [vec![], vec![&b""[..]], vec![b"a\tb"], vec![b"\xfc"], vec![b"a", b"b"], vec![&[b'a'; 129]]]
        {
            assert_eq!(given(&ids), None, "{ids:?}");
        }
    }
}
