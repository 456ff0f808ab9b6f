use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Extension, Router};
use export_settings::defaults;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::*;

fn low_limits() -> LimitSettings {
    let few = |number| NonZeroU32::new(number).expect("not zero");
    LimitSettings {
        max_requests: few(3),
        max_requests_per_caller: few(2),
        max_streams_per_caller: few(1),
        requests_per_second: few(1),
        requests_at_once: few(4),
        ..defaults()
    }
}

/// Limits by caller name, as with `AUTH=keys`.
fn by_name() -> Limits {
    let mut limits = Limits::new(&low_limits(), &AccessSettings::Anyone);
    Arc::get_mut(&mut limits.0).expect("the only clone").is_by_address = false;
    limits
}

fn caller(name: &str) -> Principal {
    Principal { name: name.to_owned(), ..Principal::anyone() }
}

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn each_caller_has_its_own_limits() {
    let limits = by_name();
    let request_permit = |name: &str| {
        let key = limits.caller_key(&caller(name), PEER);
        let taken = limits.0.request_rate.check(&key);
        limits.request_permit(key, taken)
    };
    let first: Vec<_> = (0..2).map(|_| request_permit("a").expect("a permit")).collect();
    let problem = request_permit("a").expect_err("two are open");
    assert_eq!((problem.status().as_u16(), problem.retry_after_seconds()), (429, Some(1)));
    assert!(request_permit("b").is_ok());
    drop(first);
    // The fourth request of `a` within a second, which uses up its burst.
    assert!(request_permit("a").is_ok());
    let problem = request_permit("a").expect_err("too many");
    assert_eq!((problem.status().as_u16(), problem.retry_after_seconds()), (429, Some(1)));
    assert!(
        limits.0.requests_per_caller.try_acquire(CallerKey::Address(PEER)).is_some(),
        "all were released"
    );
}

#[test]
fn streams_are_limited_separately_and_without_keys_by_address() {
    let limits = Limits::new(&low_limits(), &AccessSettings::Anyone);
    let stream = |address: &str| {
        limits.stream_permit(&Principal::anyone(), Peer::new(address.parse().expect("an address")))
    };
    let first = stream("192.0.2.1").expect("a permit");
    assert!(stream("::ffff:192.0.2.1").is_err(), "the same address");
    let _other = stream("192.0.2.2").expect("another address");
    let _sixth = stream("2001:db8::1").expect("another address");
    assert!(stream("2001:db8::2").is_err(), "the same network");
    drop(first);
    assert!(stream("192.0.2.1").is_ok());
}

#[test]
fn waits_are_limited_per_caller_and_in_total() {
    let number = |number| NonZeroU32::new(number).expect("not zero");
    let settings =
        LimitSettings { max_requests: number(12), max_streams_per_caller: number(2), ..defaults() };
    let limits = Limits::new(&settings, &AccessSettings::Anyone);
    let wait = |address: &str| {
        limits.wait_permit(&Principal::anyone(), Peer::new(address.parse().expect("an address")))
    };
    let first = wait("192.0.2.1").expect("a permit");
    let _second = wait("192.0.2.1").expect("a permit");
    assert!(wait("192.0.2.1").is_none(), "the caller's maximum");
    let _third = wait("192.0.2.2").expect("another address");
    assert!(wait("192.0.2.3").is_none(), "the total: a quarter of all requests");
    drop(first);
    assert!(wait("192.0.2.3").is_some());
}

#[test]
fn a_caller_that_waits_for_retry_after_is_served() {
    let rate = Rate::new(NonZeroU32::MIN, NonZeroU32::MIN);
    assert_eq!(rate.check(&"a"), Ok(0));
    assert_eq!(rate.check(&"a"), Err(1));
    // As long as the refusal said: the rate limiter's clock is the machine's.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(rate.check(&"a"), Ok(0));
}

/// Every answer says how much of the caller's rate is left, also that of a refused request.
#[tokio::test]
async fn every_answer_of_a_caller_describes_its_rate_limit() {
    let router = Router::new().route("/", get(|| async { "an answer" }));
    let router = router.layer(from_fn_with_state(by_name(), limit_callers));
    let router = router.layer(Extension(Caller(caller("a"))));
    let mut described = Vec::new();
    for _ in 0..5 {
        let answer = ask(&router).await;
        let text = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(text("ratelimit-policy"), "\"requests\";q=4;w=4");
        described.push((answer.status().as_u16(), text("ratelimit")));
    }
    let left = |status, remaining| (status, format!("\"requests\";r={remaining};t=1"));
    assert_eq!(described, [left(200, 3), left(200, 2), left(200, 1), left(200, 0), left(429, 0)]);
}

async fn ask(router: &Router) -> Response {
    let request = Request::new(Body::empty());
    TowerToHyperService::new(router.clone()).call(request).await.expect("an answer")
}

#[tokio::test]
async fn c1_a_place_is_free_when_the_answer_is_made() {
    let router = Router::new().route("/", get(|| async { "an answer" }));
    let router = router.layer(from_fn_with_state(by_name(), limit_all));
    let mut unread = Vec::new();
    for _ in 0..10 {
        let answer = ask(&router).await;
        assert_eq!(answer.status(), StatusCode::OK);
        unread.push(answer);
    }
}

#[tokio::test]
async fn concurrent_requests_of_all_callers_are_bounded() {
    let limits = by_name();
    let (entered, mut entries) = tokio::sync::mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let handler = |Extension(gate): Extension<Arc<Semaphore>>| async move {
        entered.send(()).expect("the test listens");
        gate.acquire().await.map(|_| ()).map_err(|_| StatusCode::GONE)
    };
    let router = Router::new().route("/", get(handler));
    let router = router.layer(Extension(gate.clone())).layer(from_fn_with_state(limits, limit_all));
    let mut open = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let router = router.clone();
        open.spawn(async move { ask(&router).await.status() });
    }
    for _ in 0..3 {
        entries.recv().await.expect("a request is being handled");
    }
    let refused = ask(&router).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    gate.close();
    while let Some(status) = open.join_next().await {
        assert_eq!(status.expect("ended"), StatusCode::GONE);
    }
}

/// A tenant's clients that do not read what they ask for take a bounded memory, however many keys
/// the tenant has.
#[tokio::test]
async fn c5_large_unread_answers_of_a_tenant_are_bounded() {
    const LARGE: usize = 4 << 20;
    let size = Arc::new(AtomicUsize::new(LARGE));
    let of_answer = Arc::clone(&size);
    let handler = move || {
        let size = of_answer.load(Ordering::Relaxed);
        async move { vec![b'a'; size] }
    };
    let mut limits = Limits::new(&defaults(), &AccessSettings::Anyone);
    Arc::get_mut(&mut limits.0).expect("the only clone").is_by_address = false;
    let router = |name: &str, tenant: &str| {
        let caller = Principal { tenant: tenant.parse().expect("a tenant"), ..caller(name) };
        let router = Router::new().route("/", get(handler.clone()));
        router.layer(from_fn_with_state(limits.clone(), limit_callers)).layer(Extension(Caller(caller)))
    };
    let mut unread = Vec::new();
    for number in 0..8 {
        let answer = ask(&router(&format!("key-{number}"), "acme")).await;
        assert_eq!(answer.status(), StatusCode::OK, "{number}");
        unread.push(answer);
    }
    let refused = ask(&router("key-9", "acme")).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(&router("key-1", "other")).await.status(), StatusCode::OK, "another tenant");
    // What matters most still works: states of jobs and new jobs are small.
    size.store(1_000, Ordering::Relaxed);
    assert_eq!(ask(&router("key-9", "acme")).await.status(), StatusCode::OK);
    size.store(LARGE, Ordering::Relaxed);
    unread.pop();
    assert_eq!(ask(&router("key-9", "acme")).await.status(), StatusCode::OK, "one was read");
}
