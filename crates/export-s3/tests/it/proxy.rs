//! A relay in front of the S3 server that notes what is sent.
//!
//! Not every S3 server can list the uploads that nobody finished; that one was aborted is seen on its way there.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Proxy {
    pub(crate) endpoint_url: String,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    /// Relays to the server at this `http://` URL until the test ends.
    pub(crate) async fn to(endpoint_url: &str) -> Self {
        let server = endpoint_url.strip_prefix("http://").expect("a plain HTTP server").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let sent = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the S3 server");
                tokio::spawn(relay(client, server, Arc::clone(&notes)));
            }
        });
        Self { endpoint_url: format!("http://{address}"), sent }
    }

    /// The targets of the requests with this method so far.
    pub(crate) fn targets_of(&self, method: &str) -> Vec<String> {
        let sent = self.sent.lock().expect("a lock");
        let text = String::from_utf8_lossy(&sent);
        // A request line may follow directly on the body before it.
        let targets = text.lines().filter_map(|line| line.strip_suffix(" HTTP/1.1")?.rsplit_once(' '));
        targets.filter(|(before, _)| before.ends_with(method)).map(|(_, target)| target.to_owned()).collect()
    }
}

async fn relay(client: TcpStream, server: TcpStream, notes: Arc<Mutex<Vec<u8>>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length) = from_client.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        notes.lock().expect("a lock").extend_from_slice(&buffer[..length]);
        if to_server.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
}
