//! Clients that post, retry, disconnect and cancel.

use std::time::Duration;

use export_testkit::http::{Answer, send};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::evidence::AcceptedJob;
use super::fault::{APIS, Process};
use super::schedule::{Manner, PlannedJob};
use super::shape::names_an_unknown_vehicle;
use super::stage::Stage;

/// Attempts of a client with an `Idempotency-Key`, and the delay between them.
const TRIES: usize = 60;
const PAUSE: Duration = Duration::from_millis(250);
/// Attempts of a client to cancel.
const CANCEL_TRIES: usize = 20;
/// Maximum duration of a connection that will be closed early.
const CONNECT: Duration = Duration::from_secs(2);

const ACCEPTED: u16 = 202;
const NOT_FOUND: u16 = 404;
const ENDED_BEFORE: u16 = 409;
const REFUSED: u16 = 422;
const UNAVAILABLE: u16 = 503;

/// The outcome of a request.
enum Asked {
    /// The job's id.
    Accepted(String),
    /// The request will not be accepted; retrying is useless.
    Refused,
    /// No answer, or an ambiguous one.
    InVain,
}

impl Asked {
    fn job_id(self) -> Option<String> {
        match self {
            Self::Accepted(job_id) => Some(job_id),
            Self::Refused | Self::InVain => None,
        }
    }
}

impl Stage {
    /// One client from its first request to its last.
    pub(super) async fn serve(&self, name: &str, job: &PlannedJob) {
        sleep(Duration::from_millis(job.at_ms)).await;
        let body = job.shape.body(&self.servers.vehicle_prefix);
        let job_id = match job.manner {
            Manner::Once => self.ask(job.api, None, &body).await.job_id(),
            Manner::UntilAccepted => self.insist(job.api, name, &body).await,
            Manner::AtOnce(times) => {
                let asked = (0..times).map(|time| self.ask(job.api + time, Some(name), &body));
                let answers = futures_util::future::join_all(asked).await;
                answers.into_iter().find_map(Asked::job_id)
            }
            Manner::HangUp(unsent, again) => {
                self.hang_up(job.api, name, &body, unsent).await;
                if again { self.insist(job.api, name, &body).await } else { None }
            }
        };
        if let (Some(job_id), Some(after_ms)) = (job_id, job.cancel_after_ms) {
            sleep(Duration::from_millis(after_ms)).await;
            self.cancel(job.api, &job_id).await;
        }
    }

    /// Sends the request once.
    async fn ask(&self, api: usize, key: Option<&str>, body: &Value) -> Asked {
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.extend(key.map(|key| ("idempotency-key".to_owned(), key.to_owned())));
        let asked = self.request(api, "POST", "/export", headers, body.to_string().into_bytes());
        let Some(answer) = asked.await else { return Asked::InVain };
        // A nonexistent vehicle is refused as long as the catalog is sure of it.
        if answer.status == REFUSED && names_an_unknown_vehicle(body) {
            return Asked::Refused;
        }
        if answer.status != ACCEPTED {
            self.expect("POST", &answer, &[UNAVAILABLE]);
            return Asked::InVain;
        }
        let job_id = answer.json()["_id"].as_str().unwrap_or_default().to_owned();
        self.notes().accepted.push(AcceptedJob { job_id: job_id.clone(), key: key.map(str::to_owned) });
        Asked::Accepted(job_id)
    }

    /// Sends the request to different APIs until the job is accepted.
    async fn insist(&self, api: usize, key: &str, body: &Value) -> Option<String> {
        for attempt in 0..TRIES {
            match self.ask(api + attempt, Some(key), body).await {
                Asked::Accepted(job_id) => return Some(job_id),
                Asked::Refused => return None,
                Asked::InVain => {}
            }
            sleep(PAUSE).await;
        }
        self.remark(format!("client {key} was not served by {TRIES} requests"));
        None
    }

    async fn cancel(&self, api: usize, job_id: &str) {
        for attempt in 0..CANCEL_TRIES {
            let path = format!("/export/{job_id}");
            if let Some(answer) = self.request(api + attempt, "DELETE", &path, Vec::new(), Vec::new()).await {
                match answer.status {
                    ACCEPTED => {
                        self.notes().cancelled.insert(job_id.to_owned());
                    }
                    NOT_FOUND => {
                        self.notes().unknown.insert(job_id.to_owned());
                    }
                    _ => self.expect("DELETE", &answer, &[ENDED_BEFORE, UNAVAILABLE]),
                }
                if answer.status != UNAVAILABLE {
                    return;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Sends all but the last bytes of a request, and disconnects.
    async fn hang_up(&self, api: usize, key: &str, body: &Value, unsent: usize) {
        let Some(url) = self.url_of(api) else { return };
        let address = url.trim_start_matches("http://");
        let Ok(Ok(mut stream)) = timeout(CONNECT, TcpStream::connect(address)).await else { return };
        let body = body.to_string();
        let request = format!(
            "POST /export HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nIdempotency-Key: {key}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let sent = &request.as_bytes()[..request.len().saturating_sub(unsent)];
        self.notes().requests += 1;
        // Whether the request arrives does not matter to the client.
        let _ = stream.write_all(sent).await;
    }

    /// Sends a request; `None` when there is no answer.
    async fn request(
        &self,
        api: usize,
        method: &'static str,
        path: &str,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Option<Answer> {
        let url = self.url_of(api)?;
        self.notes().requests += 1;
        send(method, format!("{url}{path}"), headers, body).await.ok()
    }

    fn url_of(&self, api: usize) -> Option<String> {
        self.slot(Process::Api(api % APIS)).url()
    }

    /// Records an unexpected answer.
    fn expect(&self, request: &str, answer: &Answer, expected: &[u16]) {
        if !expected.contains(&answer.status) {
            let body = String::from_utf8_lossy(&answer.body);
            self.remark(format!("{request} was answered with {}: {body}", answer.status));
        }
    }
}
