//! A keep-alive HTTP/1.1 connection that uses as little CPU as possible, because client and service
//! share the machine. For that reason it is not the test kit's client.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Largest answer that is read.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer: its status, and its body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("the API cannot be reached")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(8 * 1024) })
    }

    /// Sends a request unchanged and waits for the whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if let Some((head_bytes, status, body_bytes)) = head(&self.buffer)?
                && self.buffer.len() >= head_bytes + body_bytes
            {
                return Ok(Answer { status, body: self.buffer[head_bytes..].to_vec() });
            }
            if self.buffer.len() > MAX_ANSWER_BYTES {
                bail!("an answer of more than {MAX_ANSWER_BYTES} bytes");
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the API closed a connection: {}", String::from_utf8_lossy(&self.buffer));
            }
        }
    }
}

/// Size of the head, status, and size of the body; `None` before the head is complete.
fn head(bytes: &[u8]) -> anyhow::Result<Option<(usize, u16, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).context("an answer's head is no text")?;
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer has no status")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok()).flatten()
    });
    Ok(Some((end + 4, status, length.context("an answer without content-length")?)))
}
