//! `/metrics` of `exports-worker` has what docs/metrics.md says, and nothing else.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::settings::valid;

const TABLE: &str = include_str!("../../../../docs/metrics.md");
const SOON: Duration = Duration::from_secs(20);

/// Names and kinds of the table's figures that a worker has.
fn documented() -> BTreeMap<String, String> {
    let rows = TABLE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let of_worker = rows.filter_map(|(name, rest)| {
        let (kind, rest) = rest.split_once(" | ")?;
        rest.split(" | ").next()?.contains("worker").then(|| (name.to_owned(), kind.to_owned()))
    });
    of_worker.collect()
}

fn exposed(address: SocketAddr) -> Option<BTreeMap<String, String>> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let types = answer.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    Some(types.map(|(name, kind)| (name.to_owned(), kind.trim().to_owned())).collect())
}

#[test]
fn the_table_names_every_figure_and_no_other() {
    // Told to nobody else: a port that was free a moment ago.
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    // None of its services is there; the figures are from the beginning.
    let _running = valid().with("ADMIN_ADDR", &address.to_string()).start();
    let asked_at = Instant::now();
    let exposed = loop {
        if let Some(exposed) = exposed(address) {
            break exposed;
        }
        assert!(asked_at.elapsed() < SOON, "nothing is exposed");
        std::thread::sleep(Duration::from_millis(20));
    };
    let documented = documented();
    assert!(documented.len() >= 6, "{documented:?}");
    assert_eq!(exposed, documented, "docs/metrics.md lists them");
}
