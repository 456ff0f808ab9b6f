//! Downloads one file: resumes after interruptions and verifies size and SHA-256.

use std::path::Path;
use std::time::Instant;

use export_core::JobId;
use reqwest::header::{CONTENT_RANGE, ETAG, IF_MATCH, RANGE};
use reqwest::{Response, StatusCode};

use super::answer::retry_after;
use super::backoff::Backoff;
use super::error::ClientError;
use super::part::{Mark, Part};
use super::send::{Call, Client, describe, is_busy, is_untrusted};
use crate::print::sanitized;
use crate::progress_bar::TransferBar;

/// Most refused links in a row: a link may have expired before it was used.
const MAX_REFUSALS: u32 = 3;
/// Most bytes of an error's body that are read, to find its code.
const MAX_ERROR_BYTES: usize = 4096;
/// What helps if the certificate of the store is not accepted.
const UNTRUSTED: &str = "does this system trust the certificate of the store (the variable SSL_CERT_FILE names a file with other \
                         authorities)?";

/// A file to download.
pub(super) struct Wanted<'a> {
    pub(super) export: JobId,
    /// The object's name; `None` for a zip, which is the export's only file.
    pub(super) object: Option<&'a str>,
    pub(super) bytes: u64,
    /// In hex, if it is known.
    pub(super) sha256: Option<&'a str>,
    /// Whether the part is kept after a failure, so that the next download continues with it.
    pub(super) is_resumable: bool,
}

impl Wanted<'_> {
    /// The file's name in messages.
    fn describe(&self) -> String {
        self.object.map_or_else(|| format!("the file of export {}", self.export), sanitized)
    }

    /// The request that answers with a new link.
    fn link(&self) -> Call {
        let id = self.export.to_string();
        match self.object {
            None => Call::get(&["export", &id, "download"]),
            Some(name) => Call::get(&["export", &id, "download", name]),
        }
    }
}

/// Downloads a file into its part and verifies it. Advances `bar` by the file's bytes.
pub(super) async fn fetch(
    client: &Client,
    wanted: &Wanted<'_>,
    target: &Path,
    bar: &TransferBar,
) -> anyhow::Result<Part> {
    let mut part = Part::open(target, &wanted.export.to_string(), wanted.object)?;
    let before = bar.position();
    let mut is_resumed = part.bytes() > 0;
    if is_resumed {
        client.console.note(&format!("{}: resuming after {} bytes", wanted.describe(), part.bytes()));
    }
    loop {
        bar.set_position(before + part.bytes());
        receive(client, wanted, &mut part, bar, before).await?;
        let Some(fault) = fault(wanted, &part) else { return Ok(part) };
        if !is_resumed {
            part.discard()?;
            return Err(ClientError::Checksum(fault).into());
        }
        // The bytes of the earlier download may be wrong, so the whole file is fetched once more.
        client.console.note(&format!("{fault}; starting over"));
        part.restart()?;
        is_resumed = false;
    }
}

/// What is wrong with a downloaded file; `None` if it is right.
fn fault(wanted: &Wanted<'_>, part: &Part) -> Option<String> {
    let file = wanted.describe();
    if part.bytes() != wanted.bytes {
        return Some(format!("{file} has {} bytes instead of {}", part.bytes(), wanted.bytes));
    }
    let (sha256, expected) = (part.sha256(), wanted.sha256?);
    (!sha256.eq_ignore_ascii_case(expected))
        .then(|| format!("{file} has the SHA-256 {sha256} instead of {}", sanitized(expected)))
}

/// The outcome of one attempt.
enum Attempt {
    Complete,
    /// The connection failed, before or after some bytes.
    Cut(String),
    /// The server cannot continue from the part's bytes.
    Restart(String),
    /// The server is busy, and may say when to retry.
    Busy(StatusCode, Option<std::time::Duration>),
    Refused(String),
}

/// Retries until the part has all bytes, or more.
async fn receive(
    client: &Client,
    wanted: &Wanted<'_>,
    part: &mut Part,
    bar: &TransferBar,
    before: u64,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::new(client.patience);
    let mut refusals = 0;
    while part.bytes() < wanted.bytes {
        let bytes = part.bytes();
        // Each attempt gets a new link: links are valid for minutes, and a file may take hours.
        let link = client.link(&client.call(&wanted.link()).await?)?;
        let began_at = Instant::now();
        let mut request = client.links.get(link);
        if let Some(etag) = part.etag() {
            request = request.header(RANGE, format!("bytes={bytes}-")).header(IF_MATCH, etag);
        } else if bytes > 0 {
            part.restart()?;
            continue;
        }
        let outcome = match request.send().await {
            Ok(response) => attempt(wanted, part, response, |bytes| bar.set_position(before + bytes)).await?,
            Err(error) if is_untrusted(&error) => {
                let cause = describe(error);
                let failure =
                    ClientError::Unreachable { target: wanted.describe(), cause, advice: UNTRUSTED };
                return Err(failure.into());
            }
            Err(error) => Attempt::Cut(describe(error)),
        };
        // Progress counts only if the next attempt can continue from it, which needs an ETag.
        if part.bytes() > bytes && part.etag().is_some() {
            backoff.succeeded();
            refusals = 0;
        }
        let (cause, retry_after) = match outcome {
            Attempt::Complete => return Ok(()),
            Attempt::Cut(cause) => (cause, None),
            Attempt::Restart(cause) => {
                part.restart()?;
                bar.set_position(before);
                (cause, None)
            }
            Attempt::Busy(status, retry_after) => (format!("the store answered {status}"), retry_after),
            Attempt::Refused(cause) if refusals < MAX_REFUSALS => {
                refusals += 1;
                (cause, None)
            }
            Attempt::Refused(cause) => anyhow::bail!("cannot download {}: {cause}", wanted.describe()),
        };
        let target = wanted.describe();
        let advice = if wanted.is_resumable {
            "repeat the same command: it resumes where it stopped"
        } else {
            "repeat the same command"
        };
        let failure = ClientError::Unreachable { target, cause, advice };
        let now = Instant::now();
        // A transfer may have gone well for long before it was cut: it began to fail now.
        let failed_at = if part.bytes() > bytes { now } else { began_at };
        let Some(wait) = backoff.failed(failed_at, now, retry_after) else { return Err(failure.into()) };
        client.note_retry(&backoff, now, &failure);
        tokio::time::sleep(wait).await;
    }
    Ok(())
}

/// Appends the bytes of one answer to the part. `report` gets the part's size as it grows.
async fn attempt(
    wanted: &Wanted<'_>,
    part: &mut Part,
    response: Response,
    report: impl Fn(u64),
) -> anyhow::Result<Attempt> {
    let status = response.status();
    match status {
        StatusCode::OK => {
            // The answer has all bytes, even if only the rest was requested.
            part.restart()?;
            part.set_mark(mark(wanted, &response))?;
        }
        StatusCode::PARTIAL_CONTENT if starts_at(&response) == Some(part.bytes()) => {}
        StatusCode::PARTIAL_CONTENT => {
            return Ok(Attempt::Restart("the store sent another range than requested".to_owned()));
        }
        StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => {
            return Ok(Attempt::Restart("the file in the store has changed".to_owned()));
        }
        status if is_busy(status) || status == StatusCode::INTERNAL_SERVER_ERROR => {
            return Ok(Attempt::Busy(status, retry_after(response.headers())));
        }
        status => {
            return Ok(Attempt::Refused(format!(
                "the store answered {status}{}",
                error_code(response).await
            )));
        }
    }
    let mut response = response;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                part.append(&chunk)?;
                report(part.bytes());
                if part.bytes() > wanted.bytes {
                    // More bytes than the file has: it is the wrong file, and the caller says so.
                    return Ok(Attempt::Complete);
                }
            }
            // If the body is shorter than the file, the caller finds the wrong size.
            Ok(None) => return Ok(Attempt::Complete),
            Err(error) => return Ok(Attempt::Cut(describe(error))),
        }
    }
}

/// The mark of an answer's bytes. Without a strong `ETag` a later attempt could not know that the
/// rest is of the same file.
fn mark(wanted: &Wanted<'_>, response: &Response) -> Mark {
    let etag = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok());
    let etag = etag.filter(|etag| etag.starts_with('"')).map(str::to_owned);
    Mark { export: wanted.export.to_string(), object: wanted.object.map(str::to_owned), etag }
}

/// The first byte of an answer's range: 7 of `bytes 7-9/10`.
fn starts_at(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// The code of an S3 error, in brackets, if there is one.
async fn error_code(mut response: Response) -> String {
    let mut body = Vec::new();
    while let (true, Ok(Some(chunk))) = (body.len() < MAX_ERROR_BYTES, response.chunk().await) {
        body.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map_or_else(String::new, |(code, _)| format!(" ({})", sanitized(code)))
}
