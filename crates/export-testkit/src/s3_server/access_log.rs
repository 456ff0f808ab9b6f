//! Logs the requests that may have changed something, one line of JSON each.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, Request};
use serde_json::{Value, json};

/// The file in which requests are logged when they are answered; without a file nothing is logged.
#[derive(Debug, Clone, Default)]
pub struct AccessLog {
    file: Option<Arc<Mutex<File>>>,
}

/// A request that is being answered.
pub(super) struct Entry {
    file: Arc<Mutex<File>>,
    line: Value,
}

impl AccessLog {
    /// Goes on with this file, which is made when missing.
    pub fn to(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file: Some(Arc::new(Mutex::new(file))) })
    }

    /// The beginning of a request's line; none for read-only requests.
    pub(super) fn entry<B>(&self, request: &Request<B>) -> Option<Entry> {
        let file = self.file.clone()?;
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let is_create_only = request.headers().get("if-none-match").is_some_and(|value| value == "*");
        let line = json!({
            "method": request.method().as_str(),
            "path": request.uri().path(),
            "query": request.uri().query().unwrap_or_default(),
            "isCreateOnly": is_create_only,
            "fromUs": now_us(),
        });
        Some(Entry { file, line })
    }
}

impl Entry {
    /// Notes the request with the status of its answer.
    pub(super) fn write(mut self, status: u16) {
        self.line["status"] = status.into();
        self.line["toUs"] = now_us().into();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written must not fail requests; the line is missing then.
        let _ = file.write_all(format!("{}\n", self.line).as_bytes());
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
