//! Requests that are refused for where they come from (`AUTH=none`), and HEAD requests.

use export_e2e::Stack;
use export_testkit::isolation::TestSpace;

use crate::raw::{exchange, request};

#[tokio::test(flavor = "multi_thread")]
async fn d2_other_hosts_and_foreign_pages_are_refused_without_keys() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    let address = stack.api_url.trim_start_matches("http://").to_owned();
    for path in ["/export", "/openapi.json", "/docs/", "/nowhere"] {
        let head = |host: &str, more: &str| {
            format!("GET {path} HTTP/1.1\r\nconnection: close\r\nhost: {host}\r\n{more}\r\n").into_bytes()
        };
        let misdirected = exchange(&stack, &head("evil.example", "")).await.expect("an answer");
        assert_eq!(misdirected.status, 421, "{path}: {misdirected:?}");
        misdirected.problem(path);
        let foreign = exchange(&stack, &head(&address, "origin: https://evil.example\r\n")).await;
        let foreign = foreign.expect("an answer");
        assert_eq!(foreign.status, 403, "{path}: {foreign:?}");
        foreign.problem(path);
        let own = exchange(&stack, &head(&address, &format!("origin: http://{address}\r\n"))).await;
        assert!(!matches!(own.expect("an answer").status, 403 | 421), "{path}");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_every_request_has_an_id_of_its_own_beside_that_of_the_client() {
    let stack = Stack::start_api(TestSpace::create().await).await;
    let ids = async |given: &str| {
        let answer =
            exchange(&stack, &request("GET", "/openapi.json", &[("x-request-id", given)], b"")).await;
        let answer = answer.expect("an answer");
        let header = |name| answer.header(name).map(str::to_owned);
        (header("x-request-id").expect("an id"), header("x-client-request-id"))
    };
    let (first, second) = (ids("order-7 (again)").await, ids("order-7 (again)").await);
    assert!(first.0 != second.0 && first.0.len() == 36, "{first:?} {second:?}");
    assert_eq!((first.1.as_deref(), second.1.as_deref()), (Some("order-7 (again)"), Some("order-7 (again)")));
    for given in ["", "\u{fc}", "a\tb", &"i".repeat(129)] {
        assert_eq!(ids(given).await.1, None, "{given:?}");
    }
    stack.stop().await;
}
