//! One file from its link to the disk: goes on where it was cut, and counts only when it is what was exported.

use std::path::Path;
use std::time::Instant;

use export_core::JobId;
use indicatif::ProgressBar;
use reqwest::header::{CONTENT_RANGE, ETAG, IF_MATCH, RANGE};
use reqwest::{Response, StatusCode};

use super::answer::retry_after;
use super::backoff::Backoff;
use super::console::shown;
use super::error::ClientError;
use super::part::{Mark, Part};
use super::send::{Call, Client, is_busy, told};

/// Most fresh links in a row that may be refused: one may have expired on its way.
const MAX_REFUSALS: u32 = 3;
/// Most of an error's body that is read, to find its code.
const MAX_ERROR_BYTES: usize = 4096;

/// A file to be had.
pub(super) struct Wanted<'a> {
    pub(super) export: JobId,
    /// `None` is the export's only file.
    pub(super) object: Option<&'a str>,
    pub(super) bytes: u64,
    /// In hex, where it is known.
    pub(super) sha256: Option<&'a str>,
}

impl Wanted<'_> {
    fn told(&self) -> String {
        self.object.map_or_else(|| format!("the file of export {}", self.export), shown)
    }

    /// The request that gives a fresh link.
    fn link(&self) -> Call {
        let id = self.export.to_string();
        match self.object {
            None => Call::get(&["export", &id, "download"]),
            Some(name) => Call::get(&["export", &id, "download", name]),
        }
    }
}

/// Fetches a file into its part, which is whole and right then. `bar` counts the bytes from where it stands.
pub(super) async fn fetch(
    client: &Client,
    wanted: &Wanted<'_>,
    target: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<Part> {
    let mut part = Part::open(target, &wanted.export.to_string(), wanted.object)?;
    let before = bar.position();
    let mut is_left_over = part.bytes() > 0;
    if is_left_over {
        client.console.tell(&format!("{}: going on after {} bytes", wanted.told(), part.bytes()));
    }
    loop {
        bar.set_position(before + part.bytes());
        receive(client, wanted, &mut part, bar, before).await?;
        let Some(fault) = fault(wanted, &part) else { return Ok(part) };
        if !is_left_over {
            part.discard()?;
            return Err(ClientError::Checksum(fault).into());
        }
        // What was there before may be to blame; from the start it must be right.
        client.console.tell(&format!("{fault}; beginning again"));
        part.begin_again()?;
        is_left_over = false;
    }
}

fn fault(wanted: &Wanted<'_>, part: &Part) -> Option<String> {
    let told = wanted.told();
    if part.bytes() != wanted.bytes {
        return Some(format!("{told} has {} bytes instead of {}", part.bytes(), wanted.bytes));
    }
    let (sha256, expected) = (part.sha256(), wanted.sha256?);
    (!sha256.eq_ignore_ascii_case(expected))
        .then(|| format!("{told} has the SHA-256 {sha256} instead of {}", shown(expected)))
}

/// What came of one try.
enum Try {
    Whole,
    /// Some bytes came, or none.
    Cut(String),
    /// The part is of no use for the server.
    BeginAgain(String),
    Busy(StatusCode, Option<std::time::Duration>),
    Refused(String),
}

/// Tries until all bytes are there, or more than all.
async fn receive(
    client: &Client,
    wanted: &Wanted<'_>,
    part: &mut Part,
    bar: &ProgressBar,
    before: u64,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::new(client.patience);
    let mut refusals = 0;
    while part.bytes() < wanted.bytes {
        let bytes = part.bytes();
        // A fresh one for every try: links live for minutes, and a file may take hours.
        let link = client.link(&client.call(&wanted.link()).await?)?;
        let mut request = client.links.get(link);
        if let Some(etag) = part.etag() {
            request = request.header(RANGE, format!("bytes={bytes}-")).header(IF_MATCH, etag);
        } else if bytes > 0 {
            part.begin_again()?;
            continue;
        }
        let outcome = match request.send().await {
            Ok(response) => one_try(wanted, part, response, |bytes| bar.set_position(before + bytes)).await?,
            Err(error) => Try::Cut(told(error)),
        };
        // Bytes that the next try begins without are no success.
        if part.bytes() > bytes && part.etag().is_some() {
            backoff.succeeded();
            refusals = 0;
        }
        let (cause, wish) = match outcome {
            Try::Whole => return Ok(()),
            Try::Cut(cause) => (cause, None),
            Try::BeginAgain(cause) => {
                part.begin_again()?;
                bar.set_position(before);
                (cause, None)
            }
            Try::Busy(status, wish) => (format!("the store answers {status}"), wish),
            Try::Refused(cause) if refusals < MAX_REFUSALS => {
                refusals += 1;
                (cause, None)
            }
            Try::Refused(cause) => anyhow::bail!("{} cannot be had: {cause}", wanted.told()),
        };
        let place = wanted.told();
        let advice = "give the same command again: it goes on where it stopped";
        let failure = ClientError::Unreachable { place, cause, advice };
        let Some(wait) = backoff.failed(Instant::now(), wish) else { return Err(failure.into()) };
        client.tell_trouble(&backoff, &failure);
        tokio::time::sleep(wait).await;
    }
    Ok(())
}

async fn one_try(
    wanted: &Wanted<'_>,
    part: &mut Part,
    response: Response,
    moved: impl Fn(u64),
) -> anyhow::Result<Try> {
    let status = response.status();
    match status {
        StatusCode::OK => {
            // Asked for or not, these are all bytes.
            part.begin_again()?;
            part.note(mark(wanted, &response))?;
        }
        StatusCode::PARTIAL_CONTENT if starts_at(&response) == Some(part.bytes()) => {}
        StatusCode::PARTIAL_CONTENT => {
            return Ok(Try::BeginAgain("the store sent another part than was asked for".to_owned()));
        }
        StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => {
            return Ok(Try::BeginAgain("it is another file than before".to_owned()));
        }
        status if is_busy(status) || status == StatusCode::INTERNAL_SERVER_ERROR => {
            return Ok(Try::Busy(status, retry_after(response.headers())));
        }
        status => {
            return Ok(Try::Refused(format!("the store answers {status}{}", error_code(response).await)));
        }
    }
    let mut response = response;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                part.append(&chunk)?;
                moved(part.bytes());
                if part.bytes() > wanted.bytes {
                    // It is not the file, however long it may be.
                    return Ok(Try::Whole);
                }
            }
            // An end that comes too early is a wrong size where the server says that this is all.
            Ok(None) => return Ok(Try::Whole),
            Err(error) => return Ok(Try::Cut(told(error))),
        }
    }
}

/// The mark of what an answer brings. Only with a strong `ETag` can it be known later that the rest belongs to it.
fn mark(wanted: &Wanted<'_>, response: &Response) -> Mark {
    let etag = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok());
    let etag = etag.filter(|etag| etag.starts_with('"')).map(str::to_owned);
    Mark { export: wanted.export.to_string(), object: wanted.object.map(str::to_owned), etag }
}

/// Where a part begins: of `bytes 7-9/10`, 7.
fn starts_at(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// The code of an S3 error, for people.
async fn error_code(mut response: Response) -> String {
    let mut body = Vec::new();
    while let (true, Ok(Some(chunk))) = (body.len() < MAX_ERROR_BYTES, response.chunk().await) {
        body.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map_or_else(String::new, |(code, _)| format!(" ({})", shown(code)))
}
