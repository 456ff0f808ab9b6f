//! HTTP/2 frame by frame, for a client that announces a window of nothing.

use std::time::Duration;

use export_e2e::Stack;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::raw::connect_from;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
/// Flags of HEADERS: the end of the stream and of the headers.
const WHOLE: u8 = 5;
/// Longest wait for a frame.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection whose client reads no answer.
pub(crate) struct Unread {
    pub(crate) stream: TcpStream,
    next_id: u32,
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &id.to_be_bytes(), payload].concat()
}

/// A header field without indexing, whose name is in the static table.
fn field(index: u8, value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("short");
    assert!(length < 127, "one byte of length");
    [&[index, length], value.as_bytes()].concat()
}

impl Unread {
    /// A connection from this address with `SETTINGS_INITIAL_WINDOW_SIZE` of 0.
    pub(crate) async fn open(stack: &Stack, address: &str) -> Self {
        let mut stream = connect_from(stack, address).await;
        let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        stream
            .write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &no_window[..]].concat())
            .await
            .expect("sent");
        Self { stream, next_id: 1 }
    }

    /// Asks for a path in a new stream, with this key if there is one. Fails when the service has
    /// closed the connection.
    pub(crate) async fn ask(&mut self, path: &str, key: Option<&str>) -> std::io::Result<u32> {
        let id = self.next_id;
        self.next_id += 2;
        // Entries 2 and 6 of the static table: `:method: GET` and `:scheme: http`.
        let mut headers = vec![0x82, 0x86];
        headers.extend(field(4, path));
        headers.extend(field(1, "test"));
        if let Some(key) = key {
            // `authorization` is entry 23: 15, and 8 in the next byte.
            let value = format!("Bearer {key}");
            headers.extend([0x0f, 8]);
            headers.extend(&field(0, &value)[1..]);
        }
        self.stream.write_all(&frame(HEADERS, WHOLE, id, &headers)).await?;
        Ok(id)
    }

    /// Widens the window of a stream by some bytes.
    pub(crate) async fn widen(&mut self, id: u32, bytes: u32) -> std::io::Result<()> {
        self.stream.write_all(&frame(WINDOW_UPDATE, 0, id, &bytes.to_be_bytes())).await
    }

    /// Reads until the heads of this many answers have come; their bodies cannot.
    pub(crate) async fn until_answered(&mut self, count: usize) {
        let mut seen = 0;
        while seen < count {
            let mut head = [0; 9];
            let read = timeout(PATIENCE, self.stream.read_exact(&mut head)).await.expect("a frame in time");
            read.expect("an open connection");
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            self.stream.read_exact(&mut vec![0; length]).await.expect("a payload");
            seen += usize::from(head[3] == HEADERS);
        }
    }
}
