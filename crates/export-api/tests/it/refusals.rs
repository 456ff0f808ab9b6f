//! What the log says about refused requests.

use std::time::Duration;

use export_testkit::http::{Answer, Client};
use export_testkit::program::{Program, Running};
use serde_json::Value;

use crate::settings::valid;

/// Longest wait for a log line.
const SOON: Duration = Duration::from_secs(30);

struct Api {
    running: Running,
    url: String,
}

impl Api {
    fn start(program: &Program) -> Self {
        let mut running = program.start();
        running.until_written("\"listening\"");
        let mut api = Self { running, url: String::new() };
        let line = api.lines("listening").remove(0);
        api.url = format!("http://{}", line["address"].as_str().expect("an address"));
        api
    }

    /// The log lines with this message.
    fn lines(&self, message: &str) -> Vec<Value> {
        let output = self.running.output();
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        Client::new(SOON).send("GET", &format!("{}{path}", self.url), headers, "").expect("an answer")
    }
}

#[test]
fn d3_a_refusal_is_logged_with_address_key_and_reason() {
    let mut api = Api::start(&valid().with("AUTH", "keys").with("TRUSTED_PROXIES", "127.0.0.1"));
    let headers = [("x-request-id", "mine-7"), ("x-forwarded-for", "6.6.6.6, 192.0.2.7")];
    let refused = api.get("/export", &headers);
    assert_eq!(refused.status, 401);
    let key = format!("vxk_0123456789abcdef_{}", "5".repeat(64));
    let bearer = format!("Bearer {key}");
    // The store is not available, so the key can be neither accepted nor refused.
    assert_eq!(api.get("/export", &[("authorization", &bearer)]).status, 503);
    api.running.until_written("vxk_0123456789abcdef");
    let lines = api.lines("request refused");
    let [anonymous, with_key] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&anonymous["status"], &anonymous["client.address"]), (&401.into(), &"192.0.2.7".into()));
    assert_eq!(
        (&anonymous["problem"], &anonymous["reason"]),
        (&"unauthorized".into(), &"no credentials".into())
    );
    let span = &anonymous["span"];
    assert_eq!(span["request.client_id"], "mine-7");
    assert_eq!(span["request.id"], refused.header("x-request-id").expect("an id"));
    assert_eq!((&with_key["status"], &with_key["key.id"]), (&503.into(), &"vxk_0123456789abcdef".into()));
    assert!(!api.running.output().contains("55555555"), "the secret is in the log");
}

#[test]
fn d3_a_flood_of_refusals_does_not_flood_the_log() {
    const REQUESTS: usize = 300;
    let api = Api::start(&valid().with("AUTH", "keys"));
    let client = Client::new(SOON);
    for _ in 0..REQUESTS {
        let answer = client.get(&format!("{}/export", api.url)).expect("an answer");
        assert!(matches!(answer.status, 401 | 429), "{answer:?}");
    }
    // At most 10 at once and one per second, of each of the two statuses.
    let lines = api.lines("request refused").len();
    assert!((2..REQUESTS / 2).contains(&lines), "{lines}");
    let others = api.lines("finished processing request").len();
    assert!(others < REQUESTS / 2, "refusals have no other line: {others}");
}
