//! Servers that are older than the SDK's checksums, which no real server of the tests is.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use export_settings::s3::{PayloadSigning, S3Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::delete;
use crate::bucket::{ResultBucket, S3Server};

/// A server that wants an MD5 for lifecycle rules and for deleting many objects. Returns the bucket,
/// and the request lines that the server has got.
async fn old_server() -> (ResultBucket, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint_url = format!("http://{}", listener.local_addr().expect("an address"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(answer(client, Arc::clone(&notes)));
        }
    });
    let settings = S3Settings {
        bucket: "results".to_owned(),
        key_prefix: "exports/".to_owned(),
        force_path_style: true,
        public_endpoint_url: None,
        payload_signing: PayloadSigning::Auto,
    };
    let (access_key_id, secret_access_key) = ("id".to_owned(), "key".to_owned().into());
    let server = S3Server { endpoint_url, access_key_id, secret_access_key };
    (ResultBucket::at(&server, settings).await.expect("a bucket"), seen)
}

/// Answers one request and closes the connection.
async fn answer(mut client: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let length =
        head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut content = vec![0; length.unwrap_or(0)];
    if client.read_exact(&mut content).await.is_err() {
        return;
    }
    let (status, code) = match line.as_str() {
        line if line.starts_with("GET ") => (404, "NoSuchLifecycleConfiguration"),
        line if line.starts_with("PUT ") || line.starts_with("POST ") => (400, "MissingContentMD5"),
        line if line.starts_with("DELETE ") => (204, ""),
        _ => (200, ""),
    };
    let body = if code.is_empty() { String::new() } else { format!("<Error><Code>{code}</Code></Error>") };
    seen.lock().expect("a lock").push(line);
    let length = if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let answer = format!("HTTP/1.1 {status} x\r\n{length}connection: close\r\n\r\n{body}");
    let _ = client.write_all(answer.as_bytes()).await;
}

#[tokio::test]
async fn c13_a_server_without_newer_checksums_is_provisioned_without_lifecycle_rules() {
    let (bucket, seen) = old_server().await;
    bucket.provision(NonZeroU32::MIN).await.expect("provisioned");
    let seen = seen.lock().expect("a lock").clone();
    assert!(seen.iter().any(|line| line.starts_with("PUT ") && line.contains("lifecycle")), "{seen:?}");
}

#[tokio::test]
async fn c13_a_server_without_newer_checksums_deletes_objects_one_by_one() {
    let (bucket, seen) = old_server().await;
    let keys = ["exports/a.csv".to_owned(), "exports/b.csv".to_owned()];
    delete(&bucket, &keys).await.expect("deleted");
    let seen = seen.lock().expect("a lock").clone();
    let deleted: Vec<&str> =
        seen.iter().filter_map(|line| line.strip_prefix("DELETE /results/")?.split('?').next()).collect();
    assert_eq!(deleted, ["exports/a.csv", "exports/b.csv"], "{seen:?}");
}
