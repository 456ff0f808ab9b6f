//! The rules of a proxy: what it does, and when.

use std::time::Duration;

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Answers,
}

/// Bytes to wait for, in one piece as they were read.
#[derive(Debug, Clone, Default)]
pub struct Pattern {
    start: Vec<u8>,
    inside: Vec<Vec<u8>>,
}

impl Pattern {
    /// Any bytes.
    pub fn any() -> Self {
        Self::default()
    }

    /// Bytes that begin with these, for instance `PUT /`.
    pub fn starting(start: impl AsRef<[u8]>) -> Self {
        Self { start: start.as_ref().to_vec(), inside: Vec::new() }
    }

    /// Also requires these bytes.
    #[must_use]
    pub fn containing(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.inside.push(bytes.as_ref().to_vec());
        self
    }

    pub(super) fn matches(&self, bytes: &[u8]) -> bool {
        let has = |part: &Vec<u8>| part.is_empty() || bytes.windows(part.len()).any(|window| window == part);
        bytes.starts_with(&self.start) && self.inside.iter().all(has)
    }
}

/// The effect on a connection from the matched bytes on.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing: the rule only watches.
    None,
    /// Bytes in this direction are held, the matched ones included; the connection stays open. When
    /// the rule is removed they are forwarded; if their sender has closed the connection meanwhile,
    /// they are lost.
    Hold(Direction),
    /// Nothing is forwarded in either direction, and new connections are accepted without reaching
    /// the server: an unresponsive server.
    Silence,
    /// The connection is closed normally, before the matched bytes.
    Close,
    /// The connection is reset (RST on both sides), before the matched bytes.
    Reset,
    /// Each piece in this direction (64 KiB at most) is delayed by this long.
    Delay(Direction, Duration),
    /// Limits this direction to this many bytes per second.
    Throttle(Direction, u64),
    /// The request reaches the server, which executes it; its answer is dropped, and the connection
    /// reset.
    LoseReply,
    /// The HTTP request does not reach the server; its client gets this answer.
    Answer(HttpAnswer),
}

impl Fault {
    /// An answer of S3 with this status and error code, for instance 500 `InternalError`.
    pub fn s3_error(status: u16, code: &str) -> Self {
        Self::Answer(HttpAnswer {
            status,
            headers: vec![("Content-Type".to_owned(), "application/xml".to_owned())],
            body: format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>asked for by a test</Message>\
                 <RequestId>test</RequestId></Error>"
            ),
        })
    }

    /// S3 asks the client to slow down: 503.
    pub fn slow_down() -> Self {
        Self::s3_error(503, "SlowDown")
    }

    /// S3 fails: 500.
    pub fn internal_error() -> Self {
        Self::s3_error(500, "InternalError")
    }

    /// S3 denies access to this client: 403.
    pub fn access_denied() -> Self {
        Self::s3_error(403, "AccessDenied")
    }

    /// Whether bytes in this direction are held.
    pub(super) fn holds(&self, direction: Direction) -> bool {
        match self {
            Self::Silence => true,
            Self::Hold(held) => *held == direction,
            _ => false,
        }
    }
}

/// An answer that no server gave.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Headers; the length and `Connection: close` are added.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl HttpAnswer {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Self { status, headers, body } = self;
        let mut lines = vec![format!("HTTP/1.1 {status} Test")];
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
        lines.extend([format!("Content-Length: {}", body.len()), "Connection: close".to_owned()]);
        format!("{}\r\n\r\n{body}", lines.join("\r\n")).into_bytes()
    }
}

/// A fault and its trigger.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(super) direction: Direction,
    pub(super) pattern: Pattern,
    pub(super) answer: Pattern,
    pub(super) let_through: usize,
    pub(super) times: usize,
    pub(super) is_for_all: bool,
    pub(super) fault: Fault,
}

impl Rule {
    /// Starts with a request like this, on its connection.
    pub fn request(pattern: Pattern, fault: Fault) -> Self {
        let answer = Pattern::any();
        Self {
            direction: Direction::Requests,
            pattern,
            answer,
            let_through: 0,
            times: usize::MAX,
            is_for_all: false,
            fault,
        }
    }

    /// Starts when the server sends bytes like these, on their connection.
    pub fn answer(pattern: Pattern, fault: Fault) -> Self {
        Self { direction: Direction::Answers, ..Self::request(pattern, fault) }
    }

    /// Applies to every connection, at once. For lasting faults: [`Fault::Hold`],
    /// [`Fault::Silence`], [`Fault::Delay`], [`Fault::Throttle`].
    pub fn always(fault: Fault) -> Self {
        Self { is_for_all: true, ..Self::request(Pattern::any(), fault) }
    }

    /// Skips this many matches first.
    #[must_use]
    pub fn let_through(mut self, matches: usize) -> Self {
        self.let_through = matches;
        self
    }

    /// Applies to this many matches only.
    #[must_use]
    pub fn times(mut self, matches: usize) -> Self {
        self.times = matches;
        self
    }

    /// The bytes of the server that count as the answer to a matched request, for
    /// [`Watch::until_answered`](super::Watch::until_answered) and [`Fault::LoseReply`]: in a
    /// protocol with other messages in between, not any bytes are the answer.
    #[must_use]
    pub fn answered_by(mut self, pattern: Pattern) -> Self {
        self.answer = pattern;
        self
    }
}
