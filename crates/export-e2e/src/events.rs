//! A client of server-sent events that returns every event unchanged.

use std::time::{Duration, Instant};

use export_testkit::http::Answer;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

/// Longest wait for an event, or for the end of a stream.
const EVENT: Duration = Duration::from_secs(30);

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// The value of `event:`.
    pub name: String,
    /// The value of `id:`.
    pub id: String,
    /// The value of `retry:`.
    pub retry: String,
    /// The value of `data:`.
    pub data: String,
}

impl Event {
    /// The data as JSON. Panics when it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.data))
    }
}

/// An open stream. Dropping it closes the connection.
#[derive(Debug)]
pub struct EventStream {
    /// The head of the answer; its body is empty.
    pub head: Answer,
    lines: Lines<BufReader<TcpStream>>,
}

impl EventStream {
    /// Requests a stream at `http://host:port/path`. Panics when there is no answer.
    pub async fn open(url: &str, headers: &[(&str, &str)]) -> Self {
        let (address, path) = url.trim_start_matches("http://").split_once('/').unwrap_or((url, ""));
        // HTTP/1.0: its body is not chunked, and ends with the connection.
        let mut lines = vec![format!("GET /{path} HTTP/1.0\r\nhost: {address}\r\naccept: text/event-stream")];
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
        let request = lines.join("\r\n");
        let opened_at = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        let sent = stream.write_all(format!("{request}\r\n\r\n").as_bytes()).await;
        sent.unwrap_or_else(|error| panic!("{url}: {error}"));
        let mut lines = BufReader::new(stream).lines();
        let status = line(&mut lines).await.unwrap_or_else(|| panic!("{url}: no answer"));
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut head = Answer {
            status: status.unwrap_or_default(),
            headers: Vec::new(),
            body: Vec::new(),
            took: opened_at.elapsed(),
        };
        while let Some(header) = line(&mut lines).await.filter(|header| !header.is_empty()) {
            let (name, value) = header.split_once(':').unwrap_or((&header, ""));
            head.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Self { head, lines }
    }

    /// The next event; `None` when the stream ends. Comments are skipped. Panics after a bounded
    /// wait.
    pub async fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = line(&mut self.lines).await?;
            if line.is_empty() {
                if event != Event::default() {
                    return Some(event);
                }
                continue;
            }
            let (field, value) = line.split_once(": ").unwrap_or((&line, ""));
            let slot = match field {
                "event" => &mut event.name,
                "id" => &mut event.id,
                "retry" => &mut event.retry,
                "data" => &mut event.data,
                comment if comment.starts_with(':') => continue,
                unknown => panic!("an event with {unknown:?}"),
            };
            value.clone_into(slot);
        }
    }

    /// Waits for the next event or comment; `true` for a comment, `false` for an event or the end
    /// of the stream. Panics after a bounded wait.
    pub async fn comment(&mut self) -> bool {
        loop {
            match line(&mut self.lines).await {
                Some(line) if line.is_empty() => {}
                next => return next.is_some_and(|line| line.starts_with(':')),
            }
        }
    }

    /// The next matching event. Panics when the stream ends before.
    pub async fn until(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Event {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ended"));
            if is_wanted(&event.json()) {
                return event;
            }
        }
    }
}

async fn line(lines: &mut Lines<BufReader<TcpStream>>) -> Option<String> {
    let read = tokio::time::timeout(EVENT, lines.next_line()).await;
    let read = read.unwrap_or_else(|_| panic!("nothing in {EVENT:?}"));
    read.unwrap_or_else(|error| panic!("the stream broke: {error}"))
}
