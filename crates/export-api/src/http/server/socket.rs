//! The stream that the HTTP library reads and writes. A write fails when the client reads nothing
//! for too long, and error answers of the library itself are replaced by problems.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use uuid::Uuid;

use super::activity::Activity;
use crate::http::problem::Problem;

/// A client's connection.
pub(super) struct Socket {
    stream: TcpStream,
    max_stall: Duration,
    /// Timeout of the write that waits for the client.
    stall_timeout: Option<Pin<Box<Sleep>>>,
    activity: Activity,
    /// Answer written instead of the library's error answer, and the number of bytes written.
    replacement: Option<(Vec<u8>, usize)>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, max_stall: Duration, activity: Activity) -> Self {
        Self { stream, max_stall, stall_timeout: None, activity, replacement: None }
    }

    /// Passes on the outcome of a write, or fails if the client has read nothing for `max_stall`.
    fn with_timeout<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stall_timeout = None;
            return polled;
        }
        let max_stall = self.max_stall;
        let timeout = self.stall_timeout.get_or_insert_with(|| Box::pin(sleep(max_stall)));
        ready!(timeout.as_mut().poll(context));
        // The timeout stays expired, so that every later write fails, too.
        timeout.as_mut().reset(Instant::now());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }

    /// Writes the answer that replaces the library's error answer.
    fn poll_replacement(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((text, written)) = &mut self.replacement {
            let polled = Pin::new(&mut self.stream).poll_write(context, &text[*written..]);
            if let Poll::Ready(Ok(length)) = &polled {
                *written += length;
                if *written >= text.len() || *length == 0 {
                    self.replacement = None;
                }
            }
            ready!(self.with_timeout(context, polled))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replacement.is_none()
            && !self.activity.has_request()
            && let Some(answer) = replacement(bytes)
        {
            self.replacement = Some((answer.into_bytes(), 0));
        }
        if self.replacement.is_some() {
            return self.poll_replacement(context).map_ok(|()| bytes.len());
        }
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.with_timeout(context, polled)
    }

    /// With vectored writes the library keeps each chunk of an answer until it is written, which is
    /// how [`super::delivery`] learns of it. Otherwise the library would copy chunks into a buffer.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // An error answer of the library is one piece.
        if let [bytes] = slices {
            return self.poll_write(context, bytes);
        }
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.with_timeout(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.with_timeout(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The answer that replaces an error answer of the HTTP library. The library's answers are whole
/// HTTP/1 answers without a body and without a request id, which every answer of the API has.
fn replacement(bytes: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(bytes.strip_prefix(b"HTTP/1.")?.strip_suffix(b"\r\n\r\n")?).ok()?;
    if head.contains("\r\nx-request-id:") || !head.contains("\r\ncontent-length: 0") {
        return None;
    }
    let (_, rest) = head.split_once(' ')?;
    let problem = match rest.get(..3)? {
        "400" => Problem::malformed("The request is not valid HTTP."),
        "414" => Problem::target_too_long(),
        "431" => Problem::headers_too_large(),
        _ => return None,
    };
    Some(bare_problem(&problem))
}

/// A problem as a whole HTTP/1 answer, for a client whose request was not parsed.
pub(super) fn bare_problem(problem: &Problem) -> String {
    let request_id = Uuid::now_v7().to_string();
    let (status, body) = (problem.status(), problem.body(&request_id));
    let retry_after = problem.retry_after_seconds().map(|seconds| format!("retry-after: {seconds}\r\n"));
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n{}cache-control: no-store\r\n\
         x-content-type-options: nosniff\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n{body}",
        body.len(),
        retry_after.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_answers_of_the_library_are_replaced_and_other_answers_are_not() {
        let from_library =
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        let answer = replacement(from_library).expect("a problem");
        assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
        assert!(body.contains("urn:exports:problem:headers-too-large"), "{answer}");
        let (_, id) = head.split_once("x-request-id: ").expect("an id");
        let (id, _) = id.split_once("\r\n").expect("a line");
        assert!(body.contains(&format!("\"requestId\":\"{id}\"")), "{answer}");

        for other in [
            "HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            assert_eq!(replacement(other.as_bytes()), None, "{other}");
        }
    }
}
