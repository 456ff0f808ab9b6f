//! A server with scripted answers: an API or a store with faults that real ones do not show on
//! demand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// Longest wait for the rest of a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request, with its body read.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// All headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// `GET /export`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Number of bytes of the body after which the connection is closed.
    cut_after: Option<usize>,
}

impl Reply {
    pub(crate) fn bytes(status: u16, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), body: body.to_vec(), cut_after: None }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, body.to_string().as_bytes()).with("content-type", "application/json")
    }

    /// A problem document of this kind.
    pub(crate) fn problem(status: u16, kind: &str) -> Self {
        let body = serde_json::json!({ "type": format!("urn:exports:problem:{kind}"), "title": format!("It is {kind}"),
            "status": status, "detail": "As the test says." });
        Self::json(status, &body).with("x-request-id", "request-7")
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut_after = Some(bytes);
        self
    }
}

/// The server; runs until the test's process ends.
pub(crate) struct Stub {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Stub {
    /// Starts a server. `answer` gets each request and the number of requests before it.
    pub(crate) fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                thread::spawn(move || serve(&connection, &kept, &*answer));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Method and target of all requests so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }
}

/// One request per connection.
fn serve(connection: &TcpStream, kept: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request, usize) -> Reply) {
    connection.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let Some(request) = read(connection) else { return };
    let before = {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(request.clone());
        kept.len() - 1
    };
    let reply = answer(&request, before);
    let mut head = format!(
        "HTTP/1.1 {} Stub\r\nconnection: close\r\ncontent-length: {}\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    let sent = reply.cut_after.unwrap_or(usize::MAX).min(reply.body.len());
    let bytes = [head.as_bytes(), b"\r\n", &reply.body[..sent]].concat();
    // A write error is ignored: the client may have closed the connection.
    let _ = { connection }.write_all(&bytes);
    let _ = connection.shutdown(Shutdown::Write);
}

fn read(connection: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(connection);
    let mut line = || {
        let mut text = String::new();
        lines.read_line(&mut text).ok().map(|_| text.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let text = line()?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':')?;
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, length)| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    Some(Request { method, target, headers, body })
}
