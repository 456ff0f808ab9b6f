//! What a proxy is to do, and when.

use std::time::Duration;

/// The way that bytes go.
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
    /// Whatever comes.
    pub fn any() -> Self {
        Self::default()
    }

    /// What begins with these bytes, for instance `PUT /`.
    pub fn starting(start: impl AsRef<[u8]>) -> Self {
        Self { start: start.as_ref().to_vec(), inside: Vec::new() }
    }

    /// The same, if it also contains these bytes.
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

/// What happens to a connection from the matched bytes on.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing: the rule only watches.
    None,
    /// Bytes in this direction go nowhere, the matched ones included; the connection stays open. When the rule is lifted
    /// they go on, unless their sender has gone meanwhile: then they are lost.
    Hold(Direction),
    /// Nothing goes anywhere, and new connections are accepted but lead nowhere: a server that says nothing.
    Silence,
    /// The connection ends in good order, before the matched bytes.
    Close,
    /// The connection is reset (RST on both sides), before the matched bytes.
    Reset,
    /// Each piece of this direction (64 KiB at most) takes so much longer.
    Delay(Direction, Duration),
    /// Limits this direction to this many bytes per second.
    Throttle(Direction, u64),
    /// The request gets through and is acted upon; its answer is swallowed, and the connection reset.
    LoseReply,
    /// The request, HTTP, does not get through; its client gets this answer.
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

    /// S3 asks for less haste: 503.
    pub fn slow_down() -> Self {
        Self::s3_error(503, "SlowDown")
    }

    /// S3 is broken: 500.
    pub fn internal_error() -> Self {
        Self::s3_error(500, "InternalError")
    }

    /// S3 does not let this client do it: 403.
    pub fn access_denied() -> Self {
        Self::s3_error(403, "AccessDenied")
    }

    /// Whether bytes of this direction are kept back.
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

/// A fault and what sets it off.
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
    /// From a request like this on, on its connection.
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

    /// From bytes like these from the server on, on their connection.
    pub fn answer(pattern: Pattern, fault: Fault) -> Self {
        Self { direction: Direction::Answers, ..Self::request(pattern, fault) }
    }

    /// On every connection, and at once. For faults that last: [`Fault::Hold`], [`Fault::Silence`], [`Fault::Delay`],
    /// [`Fault::Throttle`].
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

    /// What of the server counts as the answer to a matched request, for [`Watch::until_answered`](super::Watch::until_answered)
    /// and [`Fault::LoseReply`]: where a protocol has other messages in between, any bytes are not the answer.
    #[must_use]
    pub fn answered_by(mut self, pattern: Pattern) -> Self {
        self.answer = pattern;
        self
    }
}
