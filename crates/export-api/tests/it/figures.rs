//! `/metrics` of `exports-api` has the metrics that docs/metrics.md lists, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use export_testkit::http::Client;
use export_testkit::program::Running;

use crate::settings::valid;

const TABLE: &str = include_str!("../../../../docs/metrics.md");
const SOON: Duration = Duration::from_secs(30);
/// More than the API exposes after requests for everything that it has.
const MAX_SERIES: usize = 1_000;

/// Names and kinds of the API's metrics in the table.
fn documented() -> BTreeMap<String, String> {
    let rows = TABLE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let of_api = rows.filter_map(|(name, rest)| {
        let (kind, rest) = rest.split_once(" | ")?;
        rest.split(" | ").next()?.contains("API").then(|| (name.to_owned(), kind.to_owned()))
    });
    of_api.collect()
}

/// The first column of the table of reasons.
fn documented_reasons() -> BTreeSet<String> {
    let (_, table) = TABLE.split_once("| reason |").expect("the table of reasons");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
}

/// An API that requires keys, without any of its services.
struct Api {
    _running: Running,
    url: String,
    admin_url: String,
}

impl Api {
    fn start() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let (address, admin) = (free().expect("a port"), free().expect("a port"));
        let program = valid()
            .with("AUTH", "keys")
            .with("PORT", &address.port().to_string())
            .with("ADMIN_ADDR", &admin.to_string());
        let mut running = program.start();
        running.until_written("\"listening\"");
        Self { _running: running, url: format!("http://{address}"), admin_url: format!("http://{admin}") }
    }

    fn metrics(&self) -> String {
        let answer = Client::new(SOON).get(&format!("{}/metrics", self.admin_url)).expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    /// The value of a series, which must exist.
    fn value(&self, series: &str) -> u64 {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series}: {text}")).parse().expect("a number")
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        Client::new(SOON).send("GET", &format!("{}{path}", self.url), headers, "").expect("an answer").status
    }
}

#[test]
fn d3_the_table_lists_exactly_the_exposed_metrics() {
    // The API has its metrics from the start, even though no service is reachable.
    let text = Api::start().metrics();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let exposed: BTreeMap<String, String> =
        types.map(|(name, kind)| (name.to_owned(), kind.trim().to_owned())).collect();
    assert_eq!(exposed, documented(), "docs/metrics.md lists them");
    let reasons = text.lines().filter_map(|line| line.strip_prefix("exports_http_refused_total{reason=\""));
    let reasons: BTreeSet<String> =
        reasons.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect();
    assert_eq!(reasons, documented_reasons(), "docs/metrics.md lists them");
}

#[test]
fn d3_requests_and_refusals_are_counted_by_status_and_kind() {
    let api = Api::start();
    assert_eq!(api.get("/openapi.json", &[]), 200);
    for _ in 0..3 {
        assert_eq!(api.get("/export?state=x", &[]), 401);
    }
    assert_eq!(api.get("/export", &[("authorization", "Bearer hunter2")]), 401);
    let key = format!("Bearer vxk_0123456789abcdef_{}", "5".repeat(64));
    assert_eq!(api.get("/export", &[("authorization", &key)]), 503);
    // What clients make up is one series, however much it is.
    for number in 0..20 {
        assert_eq!(api.get(&format!("/made/up/{number}"), &[]), 404);
    }
    let refused = |reason: &str| api.value(&format!("exports_http_refused_total{{reason=\"{reason}\"}}"));
    let reasons = ["no_credentials", "not_a_key", "unavailable", "unknown_path", "rate"];
    // Counted when the answer is made, so each answer that a client has is counted.
    assert_eq!(reasons.map(refused), [3, 1, 1, 20, 0]);
    let requests = |labels: &str| {
        // The order of labels is the exporter's.
        let text = api.metrics();
        let wanted: BTreeSet<&str> = labels.split(',').collect();
        let counts = text.lines().filter_map(|line| {
            let (found, count) =
                line.strip_prefix("exports_http_request_seconds_count{")?.split_once("} ")?;
            (found.split(',').collect::<BTreeSet<_>>() == wanted).then(|| count.parse::<u64>().ok())?
        });
        counts.sum::<u64>()
    };
    for (labels, count) in [
        (r#"route="/openapi.json",method="GET",status="2xx""#, 1),
        (r#"route="/export",method="GET",status="4xx""#, 4),
        (r#"route="/export",method="GET",status="5xx""#, 1),
        (r#"route="other",method="GET",status="4xx""#, 20),
        (r#"route="/export",method="POST",status="5xx""#, 0),
    ] {
        // Recorded just after the answer is made, so its client may be sooner.
        let deadline = Instant::now() + SOON;
        while requests(labels) != count {
            assert!(Instant::now() < deadline, "{labels}: {}", api.metrics());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let series = api.metrics().lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < MAX_SERIES, "{series}");
}
