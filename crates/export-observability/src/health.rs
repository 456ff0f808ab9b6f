//! `/livez`, `/readyz` and `/metrics` on the admin address, and the health check of containers that
//! calls them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use export_core::causes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing::{info, warn};

use crate::admin_listener::AdminListener;
use crate::metrics::init_metrics;

/// The content type of Prometheus's text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Timeout of a health check.
const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a dependency may take to answer its check.
const PART_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer that a health check reads.
const MAX_ANSWER_BYTES: u64 = 4096;
/// Most characters of the reason why a part is not reachable.
const MAX_REASON_CHARS: usize = 500;

/// Which of its dependencies a service can reach. The service's background check writes it and
/// requests only read it, so a health check causes no traffic. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<&'static str, Part>>>,
}

/// A dependency, as of its last check.
#[derive(Debug, Default)]
struct Part {
    is_reachable: bool,
    /// Why it is not reachable, if its check said so.
    reason: Option<String>,
}

impl Readiness {
    /// All parts count as unreachable until they are first reached.
    pub fn of(parts: &[&'static str]) -> Self {
        Self { parts: Arc::new(Mutex::new(parts.iter().map(|part| (*part, Part::default())).collect())) }
    }

    /// Stores whether a part was reached. Returns whether that is a change.
    pub fn set(&self, part: &'static str, is_reachable: bool) -> bool {
        self.put(part, Part { is_reachable, reason: None })
    }

    fn put(&self, name: &'static str, part: Part) -> bool {
        let is_reachable = part.is_reachable;
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(name, part).is_none_or(|before| before.is_reachable != is_reachable)
    }

    /// Checks a part, for at most [`PART_TIMEOUT`], and stores the outcome. Logs when the part becomes
    /// reachable, and every failure. Returns why it is not reachable.
    pub async fn check<E: std::error::Error + 'static>(
        &self,
        part: &'static str,
        check: impl Future<Output = Result<(), E>>,
    ) -> Option<String> {
        let reason = match tokio::time::timeout(PART_TIMEOUT, check).await {
            Ok(Ok(())) => {
                if self.set(part, true) {
                    info!(service = part, "reached");
                }
                return None;
            }
            Ok(Err(error)) => causes(&error),
            Err(_) => format!("no answer for {} seconds", PART_TIMEOUT.as_secs()),
        };
        warn!(service = part, error = reason, "not reachable, retrying");
        self.fail(part, &reason);
        Some(reason)
    }

    /// Stores that a part cannot be used.
    pub fn fail(&self, part: &'static str, reason: &str) {
        let reason = reason.chars().take(MAX_REASON_CHARS).collect();
        self.put(part, Part { is_reachable: false, reason: Some(reason) });
    }

    /// Whether all parts were reached at their last check.
    pub fn is_ready(&self) -> bool {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).values().all(|part| part.is_reachable)
    }

    /// Whether all parts were reached, and the body of the answer that says which.
    fn report(&self) -> (bool, Value) {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ready = parts.values().all(|part| part.is_reachable);
        let reachable: BTreeMap<_, _> = parts.iter().map(|(name, part)| (name, part.is_reachable)).collect();
        let reason = |(name, part): (_, &Part)| part.reason.clone().map(|reason| (name, reason));
        let reasons: BTreeMap<_, _> = parts.iter().filter_map(reason).collect();
        let mut body = json!({ "ready": is_ready, "reachable": reachable });
        if !reasons.is_empty() {
            body["reasons"] = json!(reasons);
        }
        (is_ready, body)
    }
}

/// Serves health and metrics of this process until the process ends.
pub async fn serve_health(listener: TcpListener, readiness: Readiness) -> std::io::Result<()> {
    let metrics = init_metrics();
    let rendered = metrics.clone();
    let metrics_text = get(|| async move { ([(header::CONTENT_TYPE, PROMETHEUS)], rendered.render()) });
    let live = get(|| async { Json(json!({ "live": true })) });
    let paths = [("/metrics", metrics_text), ("/livez", live), ("/readyz", get(readyz))];
    let router = paths.into_iter().fold(Router::new(), |router, (path, answer)| {
        // Some monitors end every path with a slash.
        router.route(path, answer.clone()).route(&format!("{path}/"), answer)
    });
    let router = router
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "unknown-path", "No such path") })
        .method_not_allowed_fallback(|| async {
            problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The path does not have this method",
            )
        })
        .with_state(readiness);
    tokio::select! {
        served = axum::serve(AdminListener::new(listener), router) => served,
        () = metrics.run_upkeep() => Ok(()),
    }
}

/// A problem document like the API's.
fn problem(status: StatusCode, kind: &str, title: &str) -> impl IntoResponse {
    let body = json!({ "type": format!("urn:exports:problem:{kind}"), "title": title, "status": status.as_u16(),
                       "detail": "The paths are GET /livez, GET /readyz and GET /metrics." });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string())
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, Json<Value>) {
    let (is_ready, body) = readiness.report();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body))
}

/// The exit code of a program's `healthcheck`: 0 if the running service is ready, otherwise 1. For
/// images without a shell, in which the program itself is the health check.
pub async fn healthcheck(admin_address: SocketAddr) -> i32 {
    let is_ready = ask_readiness(admin_address).await.unwrap_or(false);
    i32::from(!is_ready)
}

/// Asks a running service whether it is ready.
async fn ask_readiness(admin_address: SocketAddr) -> std::io::Result<bool> {
    // A service that listens on every address is reachable on the loopback address.
    let mut address = admin_address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let answer = tokio::time::timeout(HEALTH_CHECK_TIMEOUT, async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    });
    Ok(answer.await.map_err(|_| std::io::ErrorKind::TimedOut)??.starts_with("HTTP/1.1 200 "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_every_part_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let readiness = Readiness::of(&["mongodb", "s3"]);
        tokio::spawn(serve_health(listener, readiness.clone()));

        assert!(readiness.set("mongodb", true), "news");
        assert!(!readiness.set("mongodb", true), "no news");
        assert!(!ask_readiness(address).await.expect("an answer"));
        readiness.set("s3", true);
        assert!(ask_readiness(address).await.expect("an answer"));
        readiness.set("s3", false);
        assert!(!ask_readiness(address).await.expect("an answer"));
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_problems() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve_health(listener, Readiness::of(&[])));
        for (request, status, kind) in [
            ("GET /nowhere", "404", "urn:exports:problem:unknown-path"),
            ("POST /readyz", "405", "urn:exports:problem:method-not-allowed"),
        ] {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            let request = format!("{request} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(
                answer.contains("content-type: application/problem+json") && answer.contains(kind),
                "{answer}"
            );
            assert_eq!(answer.contains("allow: GET,HEAD"), status == "405", "{answer}");
        }
    }

    #[tokio::test]
    async fn b7_a_slash_at_the_end_of_a_path_changes_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve_health(listener, Readiness::of(&[])));
        for path in ["/livez/", "/readyz/", "/metrics/"] {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        }
    }

    /// One address opens connections and sends nothing, or half a request.
    #[tokio::test]
    async fn d6_silent_connections_do_not_keep_health_from_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let readiness = Readiness::of(&["mongodb"]);
        readiness.set("mongodb", true);
        tokio::spawn(serve_health(listener, readiness));
        let mut silent = Vec::new();
        for number in 0..200 {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            if number % 2 == 0 {
                // Fails where the service has closed the connection already.
                stream.write_all(b"GET /readyz HTTP/1.1\r\n").await.ok();
            }
            silent.push(stream);
        }
        let other = tokio::net::TcpSocket::new_v4().expect("a socket");
        other.bind("127.0.0.2:0".parse().expect("an address")).expect("an address of this machine");
        let mut other = other.connect(address).await.expect("a connection");
        other.write_all(b"GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        let read = tokio::time::timeout(Duration::from_secs(20), other.read_to_string(&mut answer)).await;
        read.expect("in time").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        drop(silent);
    }

    #[tokio::test]
    async fn metrics_are_served_as_text() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve_health(listener, Readiness::of(&[])));
        init_metrics();
        metrics::gauge!("test_served").set(7.0);
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .await
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
        assert!(answer.contains("\ntest_served 7\n"), "{answer}");
    }

    #[tokio::test]
    async fn no_service_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        assert!(ask_readiness(address).await.is_err());
    }
}
