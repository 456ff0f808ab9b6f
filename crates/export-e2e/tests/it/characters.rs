//! Odd characters wherever a client can write some: the answer is never a fault of the service.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use export_e2e::Stack;
use export_testkit::isolation::TestSpace;
use serde_json::json;

/// Percent-encoded: NUL and other control characters, what is not UTF-8, surrogates, characters
/// without a meaning, and characters with a meaning in patterns, queries and paths.
const ODD: [&str; 24] = [
    "%00",
    "a%00b",
    "%00%00",
    "%01",
    "%0A",
    "%0D%0A",
    "%1B%5B31m",
    "%7F",
    "%C2%80",
    "%FF",
    "%C3%28",
    "%ED%A0%80",
    "%F4%90%80%80",
    "%EF%BF%BE",
    "%E2%80%AE",
    "%5C",
    "%5CQ",
    "(",
    "%5Ba-",
    "*%2B%3F",
    "%24where",
    "%7B%22%24gt%22:1%7D",
    "..%2F..",
    "%2525",
];

#[tokio::test(flavor = "multi_thread")]
async fn d6_odd_characters_are_no_fault_of_the_service() {
    let mut stack = Stack::start_api(TestSpace::create().await).await;
    stack.provision().await;
    stack.start_worker().await;
    stack.space.insert_hours("001", "soc", vec![]).await;
    let id = "01983c5e-7a01-7c3a-9d5e-0123456789ab";
    let filter = stack.get("/export?limit=1").await.status;
    assert_eq!(filter, 200);
    for odd in ODD {
        let cursors = ["1/", "1.", &format!("1.47DEQpj8.{id}")].map(|start| {
            let decoded = percent_decoded(odd);
            URL_SAFE_NO_PAD.encode([start.as_bytes(), &decoded].concat())
        });
        let mut paths = vec![
            format!("/vehicles?search={odd}"),
            format!("/vehicles?limit={odd}"),
            format!("/vehicles?cursor={odd}"),
            format!("/vehicles?{odd}=1"),
            format!("/export?state={odd}"),
            format!("/export?limit={odd}"),
            format!("/export?cursor={odd}"),
            format!("/export/{odd}"),
            format!("/export/{odd}/events"),
            format!("/export/{odd}/download"),
            format!("/export/{id}/download/{odd}"),
            format!("/{odd}"),
        ];
        for cursor in cursors {
            paths.push(format!("/vehicles?cursor={cursor}"));
            paths.push(format!("/export?cursor={cursor}"));
        }
        for path in paths {
            let answer = stack.get(&path).await;
            assert!(answer.status < 500, "{path}: {answer:?}");
            if path.contains("search=") && odd.contains("%0") {
                assert_eq!(answer.status, 400, "{path}: {answer:?}");
                let problem = answer.json();
                assert_eq!(problem["errors"][0]["parameter"], "search", "{problem}");
            }
        }
        let deleted = stack.request("DELETE", &format!("/export/{odd}"), &[], Vec::new()).await;
        assert!(deleted.status < 500, "{odd}: {deleted:?}");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_odd_characters_in_bodies_and_headers_are_no_fault_of_the_service() {
    let stack = Stack::start().await;
    let odd = [
        "\0", "a\0b", "\u{1}", "\n", "\u{7f}", "\u{80}", "\u{fffe}", "\u{202e}", "\\Q", "(", "[a-", "$where",
    ];
    let fields = ["startDate", "endDate", "timezone", "timeFormat", "webhookUrl", "vehicles", "parameters"];
    for text in odd {
        for field in fields {
            let mut body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01" });
            let is_list = matches!(field, "vehicles" | "parameters");
            body[field] = if is_list { json!([text]) } else { json!(text) };
            for path in ["/export", "/export/estimate"] {
                let headers = [("content-type", "application/json")];
                let answer = stack.request("POST", path, &headers, body.to_string().into_bytes()).await;
                assert!(answer.status < 500, "{path} {field} {text:?}: {answer:?}");
            }
        }
    }
    for name in [
        "idempotency-key",
        "traceparent",
        "prefer",
        "if-none-match",
        "last-event-id",
        "x-request-id",
        "accept",
    ] {
        for text in ["\t", "(", "$where", "\"", ",,", "%00", "[a-", "\\Q"] {
            let answer = stack.request("GET", "/export", &[(name, text)], Vec::new()).await;
            assert!(answer.status < 500, "{name} {text:?}: {answer:?}");
            let body = br#"{"startDate":"2018-11-30","endDate":"2018-12-01"}"#.to_vec();
            let headers = [("content-type", "application/json"), (name, text)];
            let answer = stack.request("POST", "/export", &headers, body).await;
            assert!(answer.status < 500, "{name} {text:?}: {answer:?}");
        }
    }
    stack.stop().await;
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        bytes.push(*first);
        if *first == b'%' {
            let digits = std::str::from_utf8(&rest[..2]).expect("digits");
            bytes.pop();
            bytes.push(u8::from_str_radix(digits, 16).expect("digits"));
            rest = &rest[2..];
        }
    }
    bytes
}
