//! What the HTTP library reads from and writes to: a connection that fails when its client takes nothing for too long, and on
//! which the library's own refusals are problems like all others.

use std::io;
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
    stall: Duration,
    /// Runs while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
    activity: Activity,
    /// Written instead of a refusal of the library's: the text, and how much of it is out.
    instead: Option<(Vec<u8>, usize)>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, stall: Duration, activity: Activity) -> Self {
        Self { stream, stall, stalled: None, activity, instead: None }
    }

    /// Passes on what came of a write, or fails when the client has taken nothing for too long.
    fn watched<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(stalled.as_mut().poll(context));
        // Asked again, it fails again, whatever else is tried first.
        stalled.as_mut().reset(Instant::now());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }

    /// Writes the problem that stands for a refusal of the library's.
    fn poll_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((text, written)) = &mut self.instead {
            let polled = Pin::new(&mut self.stream).poll_write(context, &text[*written..]);
            if let Poll::Ready(Ok(length)) = &polled {
                *written += length;
                if *written >= text.len() || *length == 0 {
                    self.instead = None;
                }
            }
            ready!(self.watched(context, polled))?;
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
        if self.instead.is_none()
            && !self.activity.has_request()
            && let Some(problem) = refusal(bytes)
        {
            self.instead = Some((problem.into_bytes(), 0));
        }
        if self.instead.is_some() {
            return self.poll_instead(context).map_ok(|()| bytes.len());
        }
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.watched(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The problem for what the HTTP library refuses by itself: a whole answer of HTTP/1 without a body and without a request id,
/// which every answer of ours has.
fn refusal(bytes: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(bytes.strip_prefix(b"HTTP/1.")?.strip_suffix(b"\r\n\r\n")?).ok()?;
    if head.contains("\r\nx-request-id:") || !head.contains("\r\ncontent-length: 0") {
        return None;
    }
    let (_, rest) = head.split_once(' ')?;
    let problem = match rest.get(..3)? {
        "400" => Problem::malformed("The head of the request is no HTTP."),
        "414" => Problem::target_too_long(),
        "431" => Problem::headers_too_large(),
        _ => return None,
    };
    Some(bare_problem(&problem))
}

/// A problem as a whole answer of HTTP/1, for a client that has sent no request, or none that can be read.
pub(super) fn bare_problem(problem: &Problem) -> String {
    let (status, body) = (problem.status(), problem.body());
    let retry_after = problem.retry_after_seconds().map(|seconds| format!("retry-after: {seconds}\r\n"));
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n{}cache-control: no-store\r\n\
         x-content-type-options: nosniff\r\nx-request-id: {}\r\nconnection: close\r\n\r\n{body}",
        body.len(),
        retry_after.unwrap_or_default(),
        Uuid::now_v7(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_library_become_problems_and_answers_of_ours_stay() {
        let refused =
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        let answer = refusal(refused).expect("a problem");
        assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
        assert!(body.contains("urn:exports:problem:headers-too-large"), "{answer}");

        for ours in [
            "HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            assert_eq!(refusal(ours.as_bytes()), None, "{ours}");
        }
    }
}
