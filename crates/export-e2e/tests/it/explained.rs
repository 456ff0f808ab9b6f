//! The API's documentation: the `OpenAPI` description, the page, and the answer to too many
//! requests.

use std::num::NonZeroU32;

use export_api::config::LimitSettings;
use export_e2e::Stack;
use export_settings::defaults;
use export_testkit::isolation::TestSpace;

const STORED: &str = include_str!("../../../../docs/openapi.json");

/// The references of a page: the values of `src` and `href`.
fn references(html: &str) -> Vec<String> {
    let of = |attribute: &str| {
        let starts: Vec<&str> = html.split(&format!("{attribute}=\"")).skip(1).collect();
        starts.into_iter().filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
    };
    of("src").chain(of("href")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_needs_no_other_host() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    let described = stack.get("/openapi.json").await;
    assert_eq!((described.status, described.header("content-type")), (200, Some("application/json")));
    assert_eq!(String::from_utf8_lossy(&described.body), STORED);

    let redirect = stack.get("/docs").await;
    assert_eq!((redirect.status, redirect.header("location")), (303, Some("docs/")));
    let page = stack.get("/docs/").await;
    assert_eq!(page.status, 200);
    let html = String::from_utf8_lossy(&page.body).into_owned();
    assert!(!html.contains("://"), "no address of elsewhere: {html}");
    let references = references(&html);
    assert!(references.len() >= 4, "{references:?}");
    for reference in &references {
        let name = reference.trim_start_matches("./");
        assert!(!name.contains('/'), "{reference}");
        let file = stack.get(&format!("/docs/{name}")).await;
        assert_eq!(file.status, 200, "{reference}");
        // The policy keeps the browser from contacting any other server.
        let policy = file.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.contains("connect-src 'self'") && !policy.contains("://"), "{policy}");
    }
    let start = stack.get("/docs/swagger-initializer.js").await;
    let start = String::from_utf8_lossy(&start.body).into_owned();
    assert!(start.contains("\"url\": \"../openapi.json\""), "{start}");
    assert!(start.contains("\"validatorUrl\": \"none\"") && !start.contains("://"), "{start}");
    stack.stop().await;
}

/// Without keys, each address counts as a caller.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_get_429_with_retry_after() {
    let few = NonZeroU32::new(3).expect("not zero");
    let limits = LimitSettings { requests_per_second: NonZeroU32::MIN, requests_at_once: few, ..defaults() };
    let stack = Stack::start_api_within(TestSpace::create().await, limits).await;
    let ask = || stack.get("/export/01983c5e-7a01-7c3a-9d5e-0123456789ab");
    let mut last = ask().await;
    // On a slow machine the bucket gains a token or two meanwhile.
    for _ in 0..20 {
        if last.status == 429 {
            break;
        }
        assert_eq!(last.status, 404);
        last = ask().await;
    }
    assert_eq!((last.status, last.header("retry-after")), (429, Some("1")), "{last:?}");
    assert_eq!(last.json()["type"], "urn:exports:problem:too-many-requests");
    // As long as `Retry-After` says: the rate limit gives back one request per second of real time.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(ask().await.status, 404, "a client that waits for Retry-After is served");
    stack.stop().await;
}
