//! Slow clients, and clients that use too much of the service: they are disconnected, and others
//! are served meanwhile.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use export_api::config::LimitSettings;
use export_e2e::Stack;
use export_settings::defaults;
use export_testkit::isolation::TestSpace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::raw::{answer, connect, exchange, read_to_end, request};

/// The limits of these tests.
const LIMIT: Duration = Duration::from_secs(1);
/// When a connection over its limit has ended: the check is at most a quarter of the limit late,
/// and the machine is busy.
const CUT_BY: Duration = Duration::from_secs(8);
/// Delay between two bytes of a slow client: short enough for any limit between bytes, too long for
/// a limit on the whole.
const DRIBBLE: Duration = Duration::from_millis(100);
/// Maximum number of open connections.
const CONNECTIONS: u32 = 8;

async fn strict() -> Stack {
    let limits = LimitSettings {
        header_read_seconds: LIMIT,
        body_read: LIMIT,
        write_stall: LIMIT,
        max_connections: NonZeroU32::new(CONNECTIONS).expect("not zero"),
        ..defaults()
    };
    Stack::start_api_within(TestSpace::create().await, limits).await
}

/// Sends byte after byte until the service closes the connection. Panics when it has not by then.
async fn dribble(stream: &mut TcpStream, bytes: &[u8]) {
    let began_at = Instant::now();
    for byte in bytes.iter().cycle() {
        assert!(began_at.elapsed() < CUT_BY, "the connection is still open");
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        let mut read = [0; 1];
        match tokio::time::timeout(DRIBBLE, stream.peek(&mut read)).await {
            // Nothing to read yet.
            Err(_) => {}
            // An answer, or the end of the connection.
            Ok(_) => break,
        }
    }
    assert!(began_at.elapsed() > LIMIT / 2, "not at once");
}

async fn is_served(stack: &Stack) {
    let asked_at = Instant::now();
    let answer = exchange(stack, &request("GET", "/nowhere", &[], b"")).await.expect("an answer");
    assert_eq!(answer.status, 404);
    assert!(asked_at.elapsed() < CUT_BY, "{:?}", asked_at.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_dribble_or_never_come_are_cut() {
    let stack = strict().await;
    let (mut dribbling, mut silent, mut begun) =
        (connect(&stack).await, connect(&stack).await, connect(&stack).await);
    begun.write_all(b"GET /export/").await.expect("sent");
    is_served(&stack).await;
    dribbling.write_all(b"GET / HTTP/1.1\r\nx-long: ").await.expect("sent");
    dribble(&mut dribbling, b"x").await;
    for stream in [&mut dribbling, &mut silent, &mut begun] {
        assert_eq!(String::from_utf8_lossy(&read_to_end(stream).await), "");
    }
    // A used connection is closed after the same time without a request.
    let mut idle = connect(&stack).await;
    idle.write_all(b"GET /nowhere HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("sent");
    let answered = answer(&mut idle).await.expect("an answer");
    assert_eq!(answered.status, 404);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_endless_bodies_get_a_problem() {
    let stack = strict().await;
    let head = b"POST /export HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n";
    let (mut dribbling, mut paused, mut hung_up) =
        (connect(&stack).await, connect(&stack).await, connect(&stack).await);
    for stream in [&mut dribbling, &mut paused, &mut hung_up] {
        stream.write_all(head).await.expect("sent");
    }
    // Closes its sending side, and waits for an answer.
    hung_up.shutdown().await.expect("half closed");
    paused.write_all(b"{\"startDate\"").await.expect("sent");
    is_served(&stack).await;
    dribble(&mut dribbling, b" ").await;
    for stream in [&mut dribbling, &mut paused] {
        let answered = answer(stream).await.expect("an answer");
        assert_eq!(answered.status, 408);
        assert_eq!(answered.problem("a slow body")["type"], "urn:exports:problem:body-too-slow");
    }
    read_to_end(&mut hung_up).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_answers_are_dropped() {
    // More answers than the buffers between client and service hold.
    const ASKED: usize = 400;
    let stack = strict().await;
    let one = exchange(&stack, &request("GET", "/openapi.json", &[], b"")).await.expect("an answer");
    let length: usize =
        one.header("content-length").and_then(|length| length.parse().ok()).expect("a length");
    let mut stream = connect(&stack).await;
    let asked = "GET /openapi.json HTTP/1.1\r\nhost: test\r\n\r\n".repeat(ASKED);
    stream.write_all(asked.as_bytes()).await.expect("sent");
    is_served(&stack).await;
    // Reads nothing until the service closes the connection, which is seen when a write fails.
    let began_at = Instant::now();
    while stream.write_all(b"\r").await.is_ok() {
        assert!(began_at.elapsed() < CUT_BY, "the connection is still open");
        tokio::time::sleep(DRIBBLE).await;
    }
    assert!(began_at.elapsed() > LIMIT / 2, "not at once");
    let mut read = 0;
    let mut buffer = vec![0; 1 << 16];
    while let Ok(1..) = stream.read(&mut buffer).await.inspect(|length| read += length) {}
    assert!(read < ASKED * length, "{read} bytes came, of {ASKED} answers with {length}");
    is_served(&stack).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_allowed_are_turned_away_at_once() {
    let stack = strict().await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(connect(&stack).await);
    }
    let refused_at = Instant::now();
    let mut one_more = connect(&stack).await;
    let refused = answer(&mut one_more).await.expect("an answer, before anything is asked");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    refused.problem("one connection more");
    assert!(refused_at.elapsed() < LIMIT, "{:?}", refused_at.elapsed());
    // The silent connections are closed, and new ones are accepted again.
    for stream in &mut open {
        read_to_end(stream).await;
    }
    is_served(&stack).await;
    stack.stop().await;
}

/// The HTTP library has no time limit for the head of an HTTP/2 request; the service nevertheless
/// closes a connection without a request.
#[tokio::test(flavor = "multi_thread")]
async fn http2_connections_without_requests_end() {
    let stack = strict().await;
    let mut idle = connect(&stack).await;
    // The preface and an empty SETTINGS frame.
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    let mut half_a_preface = connect(&stack).await;
    half_a_preface.write_all(b"PRI * HT").await.expect("sent");
    let began_at = Instant::now();
    let frames = read_to_end(&mut idle).await;
    // GOAWAY, a frame of eight bytes and type 7, comes before the end.
    assert!(frames.windows(4).any(|head| head == [0, 0, 8, 7]), "{frames:?}");
    assert!(read_to_end(&mut half_a_preface).await.is_empty());
    assert!(began_at.elapsed() < CUT_BY, "{:?}", began_at.elapsed());
    stack.stop().await;
}
