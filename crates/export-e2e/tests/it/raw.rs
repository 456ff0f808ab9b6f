//! HTTP byte by byte, for requests that no client library would send.

use std::time::Duration;

use export_e2e::Stack;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Longest wait for the end of an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bytes received until the service closed the connection.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    head: String,
    body: String,
}

impl Raw {
    /// The first header of this name, which must be in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The body as a problem, with all required members. Panics when it is not a problem.
    pub(crate) fn problem(&self, what: &str) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{what}: {self:?}");
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"), "{what}: {self:?}");
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()), "{what}: {self:?}");
        assert!(!self.head.contains("access-control-"), "no CORS: {what}: {self:?}");
        let problem: Value =
            serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{what}: {error}: {self:?}"));
        assert_eq!(problem["status"], self.status, "{what}: {problem}");
        for member in ["title", "detail"] {
            let is_given = problem[member].as_str().is_some_and(|text| !text.is_empty());
            assert!(is_given, "{what}: no {member}: {problem}");
        }
        problem
    }
}

/// A connection to the API.
pub(crate) async fn connect(stack: &Stack) -> TcpStream {
    let address = stack.api_url.trim_start_matches("http://");
    TcpStream::connect(address).await.unwrap_or_else(|error| panic!("no connection: {error}"))
}

/// A connection to the API from this address of the machine: every 127.x.y.z is one of its own.
pub(crate) async fn connect_from(stack: &Stack, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{address}:0").parse().expect("an address")).expect("an address of its own");
    let service = stack.api_url.trim_start_matches("http://").parse().expect("an address");
    socket.connect(service).await.unwrap_or_else(|error| panic!("no connection: {error}"))
}

/// Sends these bytes from this address and reads the answer.
pub(crate) async fn exchange_from(stack: &Stack, address: &str, request: &[u8]) -> Option<Raw> {
    let mut stream = connect_from(stack, address).await;
    stream.write_all(request).await.ok();
    answer(&mut stream).await
}

/// Reads until the service closes the connection, in any way. Panics when it does not.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset after the answer loses none of the bytes that were read.
    read.unwrap_or_else(|_| panic!("the connection stays open")).ok();
    bytes
}

/// Reads one answer up to the end of the connection. `None` when there is none.
pub(crate) async fn answer(stream: &mut TcpStream) -> Option<Raw> {
    let text = String::from_utf8_lossy(&read_to_end(stream).await).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Raw { status, head: head.to_owned(), body: body.to_owned() })
}

/// Sends these bytes and reads the answer. The request must ask the service to close the
/// connection.
pub(crate) async fn exchange(stack: &Stack, request: &[u8]) -> Option<Raw> {
    let mut stream = connect(stack).await;
    // An early refusal does not read the request to its end.
    stream.write_all(request).await.ok();
    answer(&mut stream).await
}

/// A whole request with these headers and this body; `Content-Length` is added unless a header
/// gives it.
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    let tells_length =
        headers.iter().any(|(name, _)| matches!(*name, "content-length" | "transfer-encoding"));
    if !body.is_empty() && !tells_length {
        text.push_str("content-length: ");
        text.push_str(&body.len().to_string());
        text.push_str("\r\n");
    }
    [text.as_bytes(), b"\r\n", body].concat()
}
