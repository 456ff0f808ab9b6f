//! One connection, from its first byte to its last.

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

/// Largest head of an HTTP/1 request, and what is buffered of its body and its answer, in bytes. The longest header that makes sense is a
/// token of some kilobytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The same for the headers of an HTTP/2 request, as they are counted there.
const MAX_HEADER_LIST_BYTES: u32 = 32 * 1024;
/// Requests at a time on one HTTP/2 connection: more than one caller may have.
const MAX_STREAMS: u32 = 128;
/// Bytes that wait for one client of one HTTP/2 stream.
const MAX_SEND_BYTES: usize = 64 * 1024;
/// How often an HTTP/2 client is asked for a sign of life, and how long it has for one.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(20);
/// How long an HTTP/2 connection may stay without a request. (On HTTP/1 it is the time for the next head.)
const IDLE: Duration = Duration::from_mins(1);
/// Looks at a connection during one time limit: with four of them it ends at most a quarter late.
const LOOKS: u32 = 4;

/// What all connections have in common.
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
            .header_read_timeout(limits.header_read)
            .max_buf_size(MAX_HEAD_BYTES)
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .max_concurrent_streams(MAX_STREAMS)
            .max_send_buf_size(MAX_SEND_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER);
        Self { builder, router: TowerToHyperService::new(router), limits, stop }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // Answers are short and written whole: nothing is won by waiting for more.
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

        let shortest = self.limits.header_read.min(self.limits.write_stall).min(IDLE);
        let mut look = tokio::time::interval(shortest / LOOKS);
        let mut is_stopping = false;
        // Set once the connection was asked to end without anybody waiting for an answer.
        let mut cut_at: Option<Instant> = None;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(error = %error, "a connection ended badly");
                    }
                    return;
                }
                () = self.stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ = look.tick() => {
                    if cut_at.is_some_and(|cut_at| cut_at <= Instant::now()) && !activity.has_request() {
                        return;
                    }
                    let is_idle = activity.is_idle(self.limits.header_read, IDLE, self.limits.write_stall);
                    if is_idle && cut_at.is_none() {
                        if activity.has_request() {
                            debug!("a client takes nothing of its answers");
                            return;
                        }
                        // The last answer may still be on its way out.
                        cut_at = Some(Instant::now() + self.limits.write_stall);
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }
}
