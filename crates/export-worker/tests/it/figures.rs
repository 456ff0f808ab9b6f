//! `/metrics` of `exports-worker` has the metrics that docs/metrics.md lists, and no others.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::settings::valid;

const TABLE: &str = include_str!("../../../../docs/metrics.md");
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Names and kinds of the worker's metrics in the table.
fn documented() -> BTreeMap<String, String> {
    let rows = TABLE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let of_worker = rows.filter_map(|(name, rest)| {
        let (kind, rest) = rest.split_once(" | ")?;
        rest.split(" | ").next()?.contains("worker").then(|| (name.to_owned(), kind.to_owned()))
    });
    of_worker.collect()
}

fn exposed_metrics(address: SocketAddr) -> Option<BTreeMap<String, String>> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let types = answer.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    Some(types.map(|(name, kind)| (name.to_owned(), kind.trim().to_owned())).collect())
}

#[test]
fn the_table_lists_exactly_the_exposed_metrics() {
    // A port that was free a moment ago.
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    // The worker has its metrics from the start, even though no service is reachable.
    let _running = valid().with("ADMIN_ADDR", &address.to_string()).start();
    let begun_at = Instant::now();
    let exposed = loop {
        if let Some(exposed) = exposed_metrics(address) {
            break exposed;
        }
        assert!(begun_at.elapsed() < START_TIMEOUT, "no metrics are exposed");
        std::thread::sleep(Duration::from_millis(20));
    };
    let documented = documented();
    assert!(documented.len() >= 6, "{documented:?}");
    assert_eq!(exposed, documented, "docs/metrics.md lists them");
}
