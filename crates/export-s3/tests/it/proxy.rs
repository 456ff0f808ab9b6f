//! A relay in front of the S3 server that records requests.
//!
//! Some S3 servers cannot list unfinished uploads, so tests see in the recorded requests that an
//! upload was aborted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

/// The bytes that each client sent, by connection.
type Sent = Arc<Mutex<BTreeMap<usize, Vec<u8>>>>;

pub(crate) struct Proxy {
    pub(crate) endpoint_url: String,
    sent: Sent,
}

impl Proxy {
    /// Relays to the server at this `http://` URL until the test ends.
    pub(crate) async fn to(endpoint_url: &str) -> Self {
        let server = endpoint_url.strip_prefix("http://").expect("a plain HTTP server").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let sent = Sent::default();
        let notes = Arc::clone(&sent);
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((client, _)) = listener.accept().await else { break };
                let server = TcpStream::connect(&server).await.expect("the S3 server");
                tokio::spawn(relay(connection, client, server, Arc::clone(&notes)));
            }
        });
        Self { endpoint_url: format!("http://{address}"), sent }
    }

    /// The targets of the requests with this method so far.
    pub(crate) fn targets_of(&self, method: &str) -> Vec<String> {
        let heads = self.heads_of(method).into_iter();
        heads.filter_map(|head| Some(head.split_once(' ')?.0.to_owned())).collect()
    }

    /// The heads of the requests with this method so far, from the target on.
    pub(crate) fn heads_of(&self, method: &str) -> Vec<String> {
        let sent = self.sent.lock().expect("a lock");
        let start = format!("{method} /");
        let connections = sent.values().map(|bytes| String::from_utf8_lossy(bytes));
        let heads = connections.flat_map(|text| {
            let starts = text.match_indices(&start).map(|(start, _)| start + method.len() + 1);
            let heads = starts.filter_map(|start| text[start..].split_once("\r\n\r\n"));
            // Text that looks like a request inside content is not one.
            let heads =
                heads.filter(|(head, _)| head.lines().next().is_some_and(|line| line.ends_with("HTTP/1.1")));
            heads.map(|(head, _)| head.to_owned()).collect::<Vec<_>>()
        });
        heads.collect()
    }
}

async fn relay(connection: usize, client: TcpStream, server: TcpStream, notes: Sent) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length) = from_client.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        notes.lock().expect("a lock").entry(connection).or_default().extend_from_slice(&buffer[..length]);
        if to_server.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
}
