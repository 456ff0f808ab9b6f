//! Serves one connection and closes it when it is idle or stalled.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::activity::{Activity, AnswerBody};
use super::socket::Socket;
use crate::config::LimitSettings;

/// Maximum size of the head of an HTTP/1 request in bytes, and of the buffers for bodies and
/// answers. The longest useful header is a token of a few kilobytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Maximum size of the headers of an HTTP/2 request in bytes, by HTTP/2's own way of counting.
const MAX_HEADER_LIST_BYTES: u32 = 32 * 1024;
/// Maximum concurrent requests on one HTTP/2 connection: more than the default limit per caller.
const MAX_STREAMS: u32 = 128;
/// Maximum bytes buffered for one HTTP/2 stream.
const MAX_SEND_BYTES: usize = 64 * 1024;
/// Interval of HTTP/2 pings, and the timeout of their answers.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Idle timeout of an HTTP/2 connection. (On HTTP/1, `HEADER_READ_SECONDS` applies.)
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Checks of a connection per timeout: with four, a connection is closed at most a quarter late.
const CHECKS_PER_TIMEOUT: u32 = 4;

/// Serves connections with common settings.
pub(super) struct Connections {
    builder: Builder<TokioExecutor>,
    router: TowerToHyperService<Router>,
    limits: LimitSettings,
    stop: CancellationToken,
}

impl Connections {
    pub(super) fn new(router: Router, limits: LimitSettings, stop: CancellationToken) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read_seconds)
            .max_buf_size(MAX_HEAD_BYTES)
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .max_concurrent_streams(MAX_STREAMS)
            .max_send_buf_size(MAX_SEND_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { builder, router: TowerToHyperService::new(router), limits, stop }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // Answers are short and written at once, so delaying packets gains nothing.
        stream.set_nodelay(true).ok();
        let activity = Activity::new();
        let socket = Socket::new(stream, self.limits.write_stall, activity.clone());
        let service = service_fn(|mut request: Request<Incoming>| {
            let open = activity.request(request.version());
            request.extensions_mut().insert(ConnectInfo(peer));
            let answering = self.router.call(request);
            async move { answering.await.map(|answer| answer.map(|body| AnswerBody::new(body, open))) }
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(socket), service));

        let shortest = self.limits.header_read_seconds.min(self.limits.write_stall).min(IDLE_TIMEOUT);
        let mut check = tokio::time::interval(shortest / CHECKS_PER_TIMEOUT);
        let mut is_stopping = false;
        // Set when an idle connection was asked to shut down.
        let mut close_at: Option<Instant> = None;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(error = %error, "a connection failed");
                    }
                    return;
                }
                () = self.stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ = check.tick() => {
                    if close_at.is_some_and(|close_at| close_at <= Instant::now()) && !activity.has_request() {
                        return;
                    }
                    let is_idle = activity.is_idle(self.limits.header_read_seconds, IDLE_TIMEOUT, self.limits.write_stall);
                    if is_idle && close_at.is_none() {
                        if activity.has_request() {
                            debug!("a client does not read its answers");
                            return;
                        }
                        // The last answer may still be in the send buffer.
                        close_at = Some(Instant::now() + self.limits.write_stall);
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }
}
