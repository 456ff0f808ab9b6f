//! Webhooks of the real API: the log about them, and that they do not delay its shutdown.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bson::doc;
use export_faults::{Deployment, Start};
use serde_json::json;

/// Base64 of 32 bytes.
const KEY: &str = "aHVudGVyMiBodW50ZXIyIGh1bnRlcjIgaHVudGVyMiE=";
const SOON: Duration = Duration::from_mins(1);

/// Accepts requests and answers with these heads in order, then never. Sends each request to the
/// channel.
fn receiver(answers: &'static [&'static str]) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (requests, received) = channel();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        let mut answers = answers.iter();
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.expect("a connection");
            let mut request = Vec::new();
            let mut piece = [0; 4_096];
            // The payload is one small object of JSON, which ends with two braces.
            while !request.ends_with(b"}}") {
                let length = stream.read(&mut piece).expect("a request");
                request.extend_from_slice(&piece[..length]);
            }
            if let Some(answer) = answers.next() {
                stream.write_all(answer.as_bytes()).expect("answered");
            }
            open.push(stream);
            if requests.send(String::from_utf8_lossy(&request).into_owned()).is_err() {
                return;
            }
        }
    });
    (address, received)
}

fn with_webhooks(deployment: &Deployment) -> Start<'_> {
    let networks = "127.0.0.0/8";
    deployment
        .with("WEBHOOK_SIGNING_KEY", KEY)
        .with("WEBHOOK_ALLOW_HTTP", "true")
        .with("WEBHOOK_ALLOWED_NETWORKS", networks)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_host_and_no_secret() {
    let deployment = Deployment::start().await;
    let (address, received) =
        receiver(&["HTTP/1.1 410 Gone\r\ncontent-length: 6\r\n\r\nsesame", "HTTP/1.1 204 No\r\n\r\n"]);
    let api = with_webhooks(&deployment).with("LOG_LEVEL", "trace").api().await;
    let url = format!("http://{address}/hooks/opensesame?token=opensesame");
    for _ in 0..2 {
        let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "webhookUrl": url });
        let job_id = api.accepted(&body).await;
        api.request("DELETE", &format!("/export/{job_id}"), &[], Vec::new()).await.expect("cancelled");
        let request = received.recv_timeout(SOON).expect("a webhook");
        assert!(request.contains("opensesame") && request.contains(&job_id), "{request}");
    }
    deployment
        .until_so("both are settled", || async {
            let outbox = deployment.jobs().client().database(&deployment.space.jobs_database);
            let settled = doc! { "channel": "webhook", "settledAt": { "$type": "date" } };
            let count = outbox.collection::<bson::Document>("outbox").count_documents(settled).await;
            count.expect("a count") == 2
        })
        .await;
    let output = api.output();
    assert!(output.contains("\"webhook.host\":\"127.0.0.1\""), "{output}");
    let secret = "whsec_";
    for told in ["sesame", KEY, secret, "v1,"] {
        let line = output.lines().find(|line| line.contains(told));
        assert_eq!(line, None, "{told}");
    }
    drop(api);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_does_not_keep_the_api() {
    let deployment = Deployment::start().await;
    let (address, received) = receiver(&[]);
    let mut api = with_webhooks(&deployment).api().await;
    let url = format!("http://{address}/");
    let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "webhookUrl": url });
    let job_id = api.accepted(&body).await;
    api.request("DELETE", &format!("/export/{job_id}"), &[], Vec::new()).await.expect("cancelled");
    received.recv_timeout(SOON).expect("a webhook");
    let ended = api.stop();
    assert!(ended.took < Duration::from_secs(8), "{:?}", ended.took);
    // Handed back: the next API need not wait for the claim to expire.
    let next = with_webhooks(&deployment).api().await;
    let again = received.recv_timeout(Duration::from_secs(20)).expect("the webhook again");
    assert!(again.contains(&job_id), "{again}");
    drop(next);
    deployment.end().await;
}
