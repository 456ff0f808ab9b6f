//! One client must not stop the others: what the *other* caller gets meanwhile.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use export_api::config::{AccessSettings, KnownCallers, LimitSettings};
use export_core::access::Scope;
use export_e2e::{Stack, unhurried};
use export_settings::defaults;
use export_testkit::isolation::TestSpace;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::callers::Caller;
use crate::http2::Unread;
use crate::raw::{answer, connect_from, exchange, exchange_from, request};

/// Requests that the process works on at a time, in these tests.
const PLACES: u32 = 8;
/// Within this time a caller is served, whatever others do.
const SERVED_WITHIN: Duration = Duration::from_secs(1);
/// When a connection over a limit of one second has ended; the machine is busy.
const CUT_BY: Duration = Duration::from_secs(10);
const UNKNOWN: &str = "/export/01983c5e-7a01-7c3a-9d5e-0123456789ab";

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

fn few_places() -> LimitSettings {
    LimitSettings { max_requests: number(PLACES), ..unhurried() }
}

async fn with_keys(limits: LimitSettings) -> Stack {
    let access = AccessSettings::Known(KnownCallers::default());
    let stack = Stack::start_api_behind(TestSpace::create().await, access, limits, None).await;
    stack.provision().await;
    stack
}

/// The caller is never refused, and served in time: the fastest of some requests, because the
/// machine of a test is busy.
async fn assert_served(caller: &Caller<'_>, meanwhile: &str) {
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let answer = caller.get("/export").await;
        assert_eq!(answer.status, 200, "{meanwhile}: {answer:?}");
        fastest = fastest.min(answer.took);
    }
    assert!(fastest < SERVED_WITHIN, "{meanwhile}: {fastest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_answers_that_are_not_read_take_no_place() {
    let stack = with_keys(few_places()).await;
    let caller = Caller::of(&stack, "acme", &[Scope::Read]).await;
    let other = Caller::of(&stack, "acme", &[Scope::Read]).await;
    let mut open = Vec::new();
    for _ in 0..9 {
        let mut unread = Unread::open(&stack, "127.0.0.2").await;
        for _ in 0..120 {
            unread.ask("/", None).await.expect("sent");
        }
        unread.until_answered(8).await;
        open.push(unread);
    }
    assert_served(&caller, "nine connections without a key").await;
    let mut unread = Unread::open(&stack, "127.0.0.2").await;
    for _ in 0..20 {
        unread.ask("/export", Some(&other.key)).await.expect("sent");
    }
    unread.until_answered(20).await;
    assert_served(&caller, "twenty streams with a key").await;
    // HTTP/1.1: pipelined requests for large answers, none of which is read.
    let mut pipelined = Vec::new();
    for _ in 0..2 * PLACES {
        let mut stream = connect_from(&stack, "127.0.0.2").await;
        let asked = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: test\r\n\r\n".repeat(20);
        stream.write_all(asked.as_bytes()).await.expect("sent");
        pipelined.push(stream);
    }
    assert_served(&caller, "pipelined requests").await;
    drop((open, unread, pipelined));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_bodies_that_come_slowly_take_no_place() {
    let stack = with_keys(few_places()).await;
    let caller = Caller::of(&stack, "acme", &[Scope::Read]).await;
    let slow = Caller::of(&stack, "acme", &[Scope::Write]).await;
    let head = format!(
        "POST /export HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 900\r\n\r\n{{",
        slow.key
    );
    let mut open = Vec::new();
    for _ in 0..4 * PLACES {
        let mut stream = connect_from(&stack, "127.0.0.2").await;
        stream.write_all(head.as_bytes()).await.expect("sent");
        open.push(stream);
    }
    assert_served(&caller, "half a body in each of 32 requests").await;
    stack.stop().await;
}

/// Asks again and again, so that the connection is never without news.
async fn until_cut(mut unread: Unread, widened: Option<u32>) -> Duration {
    let began_at = Instant::now();
    let first = unread.ask("/docs/swagger-ui-bundle.js", None).await.expect("sent");
    loop {
        assert!(began_at.elapsed() < CUT_BY, "the connection is still open");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let sent = match widened {
            Some(bytes) => unread.widen(first, bytes).await,
            None => unread.ask("/", None).await.map(|_| ()),
        };
        if sent.is_err() {
            return began_at.elapsed();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_a_stream_that_is_not_read_ends_its_connection() {
    let limits = LimitSettings { write_stall: Duration::from_secs(1), ..unhurried() };
    let stack = with_keys(limits).await;
    let unread = Unread::open(&stack, "127.0.0.2").await;
    assert!(until_cut(unread, None).await > Duration::from_millis(900), "not at once");
    // An answer that is taken byte by byte.
    let dribbling = Unread::open(&stack, "127.0.0.2").await;
    until_cut(dribbling, Some(1)).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c5_connections_of_one_address_are_bounded_except_those_of_a_trusted_proxy() {
    let limits = LimitSettings { max_connections_per_address: number(4), ..unhurried() };
    let proxies = "127.0.0.9".parse().expect("a network");
    let anyone = AccessSettings::Anyone;
    let stack = Stack::start_api_behind(TestSpace::create().await, anyone, limits, Some(proxies)).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(connect_from(&stack, "127.0.0.2").await);
    }
    let get = request("GET", "/nowhere", &[], b"");
    let mut fifth = connect_from(&stack, "127.0.0.2").await;
    let refused = answer(&mut fifth).await.expect("an answer, before anything is asked");
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    refused.problem("one connection more");
    assert_eq!(exchange_from(&stack, "127.0.0.3", &get).await.expect("an answer").status, 404);
    for _ in 0..10 {
        open.push(connect_from(&stack, "127.0.0.9").await);
    }
    assert_eq!(exchange_from(&stack, "127.0.0.9", &get).await.expect("an answer").status, 404);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c5_failures_are_counted_by_the_address_that_a_trusted_proxy_reports() {
    let limits = LimitSettings { auth_failures_at_once: number(2), ..unhurried() };
    let proxies = "127.0.0.9".parse().expect("a network");
    let access = AccessSettings::Known(KnownCallers::default());
    let stack = Stack::start_api_behind(TestSpace::create().await, access, limits, Some(proxies)).await;
    let ask = async |from: &str, client: &str| {
        let get = request("GET", UNKNOWN, &[("x-forwarded-for", client)], b"");
        exchange_from(&stack, from, &get).await.expect("an answer").status
    };
    for expected in [401, 401, 429] {
        assert_eq!(ask("127.0.0.9", "6.6.6.6, 192.0.2.1").await, expected);
    }
    assert_eq!(ask("127.0.0.9", "192.0.2.2").await, 401, "another client of the proxy");
    // Others are not believed, so they cannot choose their address.
    for (client, expected) in [("192.0.2.3", 401), ("192.0.2.4", 401), ("192.0.2.5", 429)] {
        assert_eq!(ask("127.0.0.2", client).await, expected);
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c5_keys_are_accepted_from_an_address_with_many_wrong_ones() {
    let limits = LimitSettings { auth_failures_at_once: number(2), ..unhurried() };
    let stack = with_keys(limits).await;
    let remembered = Caller::of(&stack, "acme", &[Scope::Read]).await;
    let new = Caller::of(&stack, "acme", &[Scope::Read]).await;
    assert_eq!(remembered.get(UNKNOWN).await.status, 404);
    let mut statuses = Vec::new();
    for wrong in 0..10 {
        let key = format!("vxk_{wrong:016x}_{}", "0".repeat(64));
        statuses.push(Caller { stack: &stack, key }.get(UNKNOWN).await.status);
    }
    assert!(statuses[0] == 401 && statuses[5..].iter().all(|status| *status == 429), "{statuses:?}");
    assert_eq!(remembered.get(UNKNOWN).await.status, 404);
    assert_eq!(new.get(UNKNOWN).await.status, 404, "few others wait for a lookup");
    stack.stop().await;
}

/// The 99th percentile of some requests from an address of their own, in new connections.
async fn p99(stack: &Stack, requests: usize) -> Duration {
    let get = request("GET", "/nowhere", &[], b"");
    let mut times = Vec::new();
    for _ in 0..requests {
        let asked_at = Instant::now();
        let answer = exchange(stack, &get).await.expect("an answer");
        assert_eq!(answer.status, 404, "{answer:?}");
        times.push(asked_at.elapsed());
    }
    times.sort();
    times[requests * 99 / 100 - 1]
}

/// Prints the ratio to the idle service; the assertion is generous because the machine is busy.
#[tokio::test(flavor = "multi_thread")]
async fn c1_two_thousand_slow_connections_of_one_address_delay_no_other_address() {
    const CONNECTIONS: usize = 2_000;
    let stack = with_keys(defaults()).await;
    let idle = p99(&stack, 300).await;
    let mut open: Vec<TcpStream> = Vec::new();
    for index in 0..CONNECTIONS {
        let mut stream = connect_from(&stack, "127.0.0.2").await;
        let begun: &[u8] = match index % 3 {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\nx-lo",
            _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        };
        // Refused connections are closed already.
        stream.write_all(begun).await.ok();
        open.push(stream);
    }
    let attacked = p99(&stack, 300).await;
    eprintln!("p99 idle {idle:?}, with {CONNECTIONS} slow connections {attacked:?}");
    assert!(attacked < SERVED_WITHIN.max(2 * idle), "{attacked:?}, idle {idle:?}");
    drop(open);
    stack.stop().await;
}

/// What curl does with a large body: it waits for `100 Continue`, or for the refusal.
#[tokio::test(flavor = "multi_thread")]
async fn b7_expectations_are_answered_before_the_body_comes() {
    use tokio::io::AsyncReadExt as _;
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" }).to_string();
    let head = |media_type: &str, length: usize| {
        format!(
            "POST /export/ HTTP/1.1\r\nhost: test\r\nconnection: close\r\nexpect: 100-continue\r\n\
             content-type: {media_type}\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut accepted = connect_from(&stack, "127.0.0.1").await;
    accepted.write_all(head("application/json", body.len()).as_bytes()).await.expect("sent");
    let mut interim = [0; 25];
    accepted.read_exact(&mut interim).await.expect("an interim answer");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    accepted.write_all(body.as_bytes()).await.expect("sent");
    assert_eq!(answer(&mut accepted).await.expect("an answer").status, 202);
    for (media_type, length, status) in
        [("text/plain", body.len(), 415), ("application/json", 5_000_000, 413)]
    {
        let mut refused = connect_from(&stack, "127.0.0.1").await;
        refused.write_all(head(media_type, length).as_bytes()).await.expect("sent");
        let answer = answer(&mut refused).await.expect("an answer");
        assert_eq!(answer.status, status, "{answer:?}");
        answer.problem("an expectation");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_slashes_and_a_byte_order_mark_are_forgiven() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" }).to_string();
    let with_mark = [b"\xef\xbb\xbf", body.as_bytes()].concat();
    let headers = [("content-type", "Application/JSON; Charset=\"UTF-8\"")];
    let answer = stack.request("POST", "/export/", &headers, with_mark).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json()["_id"].as_str().expect("an id").to_owned();
    for path in ["/export/", "//export", &format!("/export/{id}/"), &format!("/export//{id}"), "/vehicles/"] {
        assert_eq!(stack.get(path).await.status, 200, "{path}");
    }
    assert_eq!(stack.get(&format!("/export/{id}/download/")).await.status, 409);
    assert_eq!(stack.request("DELETE", &format!("/export/{id}/"), &[], Vec::new()).await.status, 202);
    let utf16: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let answer = stack.request("POST", "/export", &headers, utf16).await;
    assert!(answer.status == 400 && answer.text().contains("UTF-8"), "{answer:?}");
    stack.stop().await;
}
