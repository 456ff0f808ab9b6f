//! Serves one connection and closes it when it is idle or its client does not take its answers.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use axum::response::IntoResponse as _;
use export_observability::PerCallerLimit;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::ServerSettings;
use super::activity::{Activity, AnswerBody};
use super::delivery::DeliveryLimits;
use super::key_gate::KeyGate;
use super::socket::Socket;
use crate::http::client_address::{Peer, network};
use crate::http::path::without_empty_segments;
use crate::http::problem::Problem;
use crate::http::refusals::RefusedRequests;
use crate::http::request_id::identify_refusal;

/// Maximum size of the head of an HTTP/1 request in bytes, and of the buffers for bodies and
/// answers. The longest useful header is a token of a few kilobytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Maximum size of the headers of an HTTP/2 request in bytes, by HTTP/2's own way of counting. The
/// library derives the maximum number of CONTINUATION frames from it. Each header counts 32 bytes
/// more than its text, and takes about 100 in memory.
const MAX_HEADER_LIST_BYTES: u32 = 16 * 1024;
/// Maximum concurrent requests on one HTTP/2 connection of a client. Clients open more connections
/// if they need them.
const MAX_STREAMS: u32 = 32;
/// Maximum concurrent requests on one HTTP/2 connection of a trusted proxy, which has many clients.
const MAX_STREAMS_OF_PROXY: u32 = 128;
/// Maximum number of requests of one HTTP/2 connection that the client has cancelled and the
/// service has not seen. Beyond it the connection is closed (a flood of resets).
const MAX_UNSEEN_RESETS: usize = 20;
/// Maximum number of requests of one HTTP/2 connection that the library resets because they are
/// invalid or too many. Beyond it the connection is closed. A client that does not know
/// [`MAX_STREAMS`] yet may exceed it at first.
const MAX_RESET_STREAMS: usize = 256;
/// Window for the bodies of HTTP/2 requests, of one and of all of a connection: the largest body
/// with room to spare.
const RECEIVE_WINDOW_BYTES: u32 = 64 * 1024;
/// Maximum size of an HTTP/2 frame in bytes: the smallest that the protocol allows.
const MAX_FRAME_BYTES: u32 = 16 * 1024;
/// Maximum bytes buffered for one HTTP/2 stream.
const MAX_SEND_BYTES: usize = 64 * 1024;
/// Interval of HTTP/2 pings, and the timeout of their answers.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Idle timeout of an HTTP/2 connection. (On HTTP/1, `HEADER_READ_SECONDS` applies.)
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Checks of a connection per timeout: with four, a connection is closed at most a quarter late.
const CHECKS_PER_TIMEOUT: u32 = 4;

/// What is held until an answer is delivered: the extension of an answer by which layers pass on
/// the permit of a limit.
#[derive(Clone)]
pub(crate) struct HeldUntilDelivered(pub(crate) Arc<dyn Any + Send + Sync>);

/// Serves connections with common settings.
pub(super) struct Connections {
    of_clients: Builder<TokioExecutor>,
    of_proxies: Builder<TokioExecutor>,
    router: TowerToHyperService<Router>,
    settings: ServerSettings,
    /// Open requests on connections without a key, by address.
    without_key: Arc<PerCallerLimit<IpAddr>>,
    refused: RefusedRequests,
    stop: CancellationToken,
}

impl Connections {
    pub(super) fn new(router: Router, settings: ServerSettings, stop: CancellationToken) -> Self {
        let builder = |max_streams| {
            let mut builder = Builder::new(TokioExecutor::new());
            builder
                .http1()
                .timer(TokioTimer::new())
                .header_read_timeout(settings.limits.header_read_seconds)
                .max_buf_size(MAX_HEAD_BYTES)
                .http2()
                .timer(TokioTimer::new())
                .max_header_list_size(MAX_HEADER_LIST_BYTES)
                .max_concurrent_streams(max_streams)
                .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
                .max_local_error_reset_streams(MAX_RESET_STREAMS)
                .initial_stream_window_size(RECEIVE_WINDOW_BYTES)
                .initial_connection_window_size(RECEIVE_WINDOW_BYTES)
                .max_frame_size(MAX_FRAME_BYTES)
                .max_send_buf_size(MAX_SEND_BYTES)
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT);
            builder
        };
        Self {
            of_clients: builder(MAX_STREAMS),
            of_proxies: builder(MAX_STREAMS_OF_PROXY),
            router: TowerToHyperService::new(router),
            // As many as connections: enough for clients that send one request on each.
            without_key: Arc::new(PerCallerLimit::new(settings.limits.max_connections_per_address)),
            refused: RefusedRequests::new(),
            settings,
            stop,
        }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // Answers are short and written at once, so delaying packets gains nothing.
        stream.set_nodelay(true).ok();
        let limits = &self.settings.limits;
        let proxies = &self.settings.trusted_proxies;
        let is_proxy = proxies.contain(peer.ip());
        // Without keys, and for the many clients of a proxy, there is nothing to wait for.
        let new_gate = || KeyGate::new(self.without_key.clone(), network(peer.ip()));
        let gate = (self.settings.has_keys && !is_proxy).then(new_gate);
        let activity = Activity::new();
        let socket = Socket::new(stream, limits.write_stall, activity.clone());
        let service = service_fn(|mut request: Request<Incoming>| {
            let open = activity.request(request.version());
            let (gate, router, proxies) = (gate.clone(), self.router.clone(), proxies.clone());
            let refused = self.refused.clone();
            async move {
                // A client that sends many requests at once gives way to the others after each.
                tokio::task::yield_now().await;
                let permit = match &gate {
                    Some(gate) => gate.pass().await,
                    None => Ok(None),
                };
                let Ok(permit) = permit else {
                    let mut answer = Problem::too_many_without_key().into_response();
                    identify_refusal(&mut answer, request.method());
                    refused.note(Peer::new(peer.ip()), &answer);
                    return Ok(answer.map(|body| AnswerBody::new(body, open, None)));
                };
                without_empty_segments(request.uri_mut());
                let client = proxies.client_of(peer.ip(), request.headers());
                request.extensions_mut().insert(Peer::new(client));
                if let Some(gate) = gate {
                    request.extensions_mut().insert(gate);
                }
                let mut answer = router.call(request).await?;
                let held = answer.extensions_mut().remove::<HeldUntilDelivered>();
                let held = Arc::new((held.map(|held| held.0), permit));
                Ok::<_, std::convert::Infallible>(answer.map(|body| AnswerBody::new(body, open, Some(held))))
            }
        });
        let builder = if is_proxy { &self.of_proxies } else { &self.of_clients };
        let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));

        let shortest = limits.header_read_seconds.min(limits.write_stall).min(IDLE_TIMEOUT);
        let mut check = tokio::time::interval(shortest / CHECKS_PER_TIMEOUT);
        let delivery = DeliveryLimits::from(limits);
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
                    // One client of a proxy must not end the connection of the others.
                    if activity.is_stalled(delivery, is_proxy) {
                        debug!(client.address = %peer, "a connection is closed: its client does not take its answers");
                        return;
                    }
                    if close_at.is_some_and(|close_at| close_at <= Instant::now()) && !activity.has_request() {
                        return;
                    }
                    if close_at.is_none() && activity.is_idle(limits.header_read_seconds, IDLE_TIMEOUT) {
                        // The last answer may still be in the send buffer.
                        close_at = Some(Instant::now() + limits.write_stall);
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }
}
