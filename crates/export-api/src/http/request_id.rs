//! The request id, which connects the log lines of a request with its answer, and the headers of
//! every answer.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use uuid::Uuid;

use crate::http::problem::write_body;

/// Header with the request id, in answers. The service always makes it, so that two requests never
/// share one and no client can imitate another one's log lines.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Header of the answer with the `x-request-id` of the request.
pub(crate) const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");
/// Maximum length of a client's request id in bytes. Every log line of the request contains it.
const MAX_ID_BYTES: usize = 128;

/// Middleware that gives each request a new id. The client's own id, if it is safe to log, is kept
/// beside it.
pub async fn identify(mut request: Request, next: Next) -> Response {
    let (id, client_id) = (new_id(), client_id(request.headers()));
    let headers = request.headers_mut();
    headers.insert(REQUEST_ID, id.clone());
    headers.remove(CLIENT_REQUEST_ID);
    headers.extend(client_id.clone().map(|id| (CLIENT_REQUEST_ID, id)));
    let is_head = request.method() == Method::HEAD;
    let mut response = next.run(request).await;
    set_id(&mut response, id, is_head);
    response.headers_mut().extend(client_id.map(|id| (CLIENT_REQUEST_ID, id)));
    response
}

/// Gives the answer to a request that never reached the router an id of its own.
pub(crate) fn identify_refusal(response: &mut Response, method: &Method) {
    set_id(response, new_id(), method == Method::HEAD);
}

/// Sets the headers of every answer, and writes the body of a problem.
fn set_id(response: &mut Response, id: HeaderValue, is_head: bool) {
    write_body(response, id.to_str().unwrap_or_default(), is_head);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// The client's id, if there is exactly one and it is printable ASCII.
fn client_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut ids = headers.get_all(REQUEST_ID).iter();
    let (Some(id), None) = (ids.next(), ids.next()) else { return None };
    let is_plain = (1..=MAX_ID_BYTES).contains(&id.len())
        && id.as_bytes().iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    is_plain.then(|| id.clone())
}

fn new_id() -> HeaderValue {
    HeaderValue::from_str(&Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_client_ids_are_kept() {
        let client_id = |ids: &[&[u8]]| {
            let ids = ids.iter().map(|id| (REQUEST_ID, HeaderValue::from_bytes(id).expect("a value")));
            super::client_id(&ids.collect())
        };
        assert_eq!(client_id(&[b"order 7/\"x\""]), Some(HeaderValue::from_static("order 7/\"x\"")));
        assert!(client_id(&[&[b'a'; MAX_ID_BYTES]]).is_some());
        for ids in
            [vec![], vec![&b""[..]], vec![b"a\tb"], vec![b"\xfc"], vec![b"a", b"b"], vec![&[b'a'; 129]]]
        {
            assert_eq!(client_id(&ids), None, "{ids:?}");
        }
    }
}
