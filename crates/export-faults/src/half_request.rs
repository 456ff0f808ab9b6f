//! Requests that a client abandons in the middle.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for the first bytes of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// A request on a new connection, of which a test sends as much as it wants. Dropping it closes the
/// connection.
pub struct HalfRequest {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl HalfRequest {
    /// Connects and prepares `POST /export` with this body; sends nothing yet.
    pub(crate) async fn post(address: SocketAddr, body: &Value) -> Self {
        let stream = TcpStream::connect(address).await;
        let stream = stream.unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
        let body = body.to_string();
        let rest = format!(
            "POST /export HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { stream, rest: rest.into_bytes() }
    }

    /// Sends everything except this number of bytes at the end.
    pub async fn send_all_but(&mut self, bytes: usize) {
        let now = self.rest.len().saturating_sub(bytes);
        let later = self.rest.split_off(now);
        self.stream.write_all(&self.rest).await.unwrap_or_else(|error| panic!("not sent: {error}"));
        self.rest = later;
    }

    /// Sends the rest.
    pub async fn send_rest(&mut self) {
        self.send_all_but(0).await;
    }

    /// Waits for the first bytes of the answer, its status line. `None` when the server closes the
    /// connection.
    pub async fn answer(&mut self) -> Option<String> {
        let mut buffer = vec![0; 4096];
        let read = tokio::time::timeout(ANSWER_TIMEOUT, self.stream.read(&mut buffer)).await;
        let length = read.unwrap_or_else(|_| panic!("no answer")).unwrap_or(0);
        (length > 0).then(|| String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}
