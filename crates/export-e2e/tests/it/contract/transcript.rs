//! Requests and answers, as text that is the same in every run.

use std::fmt::Write;

use export_e2e::{Answer, Event, Stack};
use serde_json::{Value, json};

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

/// Requests and answers, one after the other.
pub(crate) struct Transcript<'stack> {
    stack: &'stack Stack,
    /// Texts of this run, and their replacements.
    names: Vec<(String, String)>,
    text: String,
}

impl<'stack> Transcript<'stack> {
    pub(crate) fn of(stack: &'stack Stack) -> Self {
        let s3 = stack.space.services.s3_endpoint_url.trim_end_matches('/').to_owned();
        let names = [
            (s3, "[s3]".to_owned()),
            (stack.space.bucket.clone(), "[bucket]".to_owned()),
            (stack.space.vehicle_prefix.clone(), "[fleet]_".to_owned()),
        ];
        let names = names.to_vec();
        Self { stack, names, text: String::new() }
    }

    /// The job of this answer gets this name from its first mention on.
    pub(crate) fn name(&mut self, answer: &Answer, name: &str) {
        self.name_id(answer.json()["_id"].as_str().expect("an id"), name);
    }

    pub(crate) fn name_id(&mut self, id: &str, name: &str) {
        self.names.push((id.to_owned(), format!("[{name}]")));
    }

    pub(crate) async fn get(&mut self, title: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let answer = self.stack.request("GET", path, headers, Vec::new()).await;
        self.note(title, "GET", path, headers, "", &answer);
        answer
    }

    /// Sends a request with the `ETag` of the newest answer.
    pub(crate) async fn get_known(&mut self, title: &str, path: &str, headers: &[(&str, &str)]) {
        // If the answer has links, its ETag changes every few minutes, but not twice in a row.
        for _ in 0..2 {
            let newest = self.stack.get(path).await;
            let mut headers = headers.to_vec();
            headers.push(("if-none-match", newest.header("etag").expect("a tag")));
            let answer = self.stack.request("GET", path, &headers, Vec::new()).await;
            if answer.status != 200 {
                return self.note(title, "GET", path, &headers, "", &answer);
            }
        }
        panic!("{title}: {path} has another tag each time");
    }

    pub(crate) async fn ask(&mut self, title: &str, method: &'static str, path: &str) -> Answer {
        let answer = self.stack.request(method, path, &[], Vec::new()).await;
        self.note(title, method, path, &[], "", &answer);
        answer
    }

    pub(crate) async fn post(&mut self, title: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let answer = self.stack.request("POST", "/export", headers, body.as_bytes().to_vec()).await;
        self.note(title, "POST", "/export", headers, body, &answer);
        answer
    }

    pub(crate) fn note(
        &mut self,
        title: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        answer: &Answer,
    ) {
        self.begin(title, method, path, headers, body, answer);
        if !answer.body.is_empty() {
            let body = answer.json();
            assert_eq!(body.get("requestId"), id_of_problem(answer).as_ref(), "{title}");
            self.json(body);
        }
    }

    pub(crate) fn note_events(
        &mut self,
        title: &str,
        path: &str,
        headers: &[(&str, &str)],
        head: &Answer,
        events: &[Event],
    ) {
        self.begin(title, "GET", path, headers, "", head);
        for Event { name, id, retry, data } in events {
            self.lines(format_args!("event: {name}\nid: {id}\nretry: {retry}\ndata:"));
            self.json(serde_json::from_str(data).expect("JSON"));
        }
    }

    /// Everything so far, with names instead of the texts of this run.
    pub(crate) fn text(mut self) -> String {
        // The longest first: a text may be part of another one.
        self.names.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        let named = self.names.iter().fold(self.text, |text, (of_run, name)| text.replace(of_run, name));
        named.split_inclusive('\n').map(without_nonce).collect()
    }

    fn begin(
        &mut self,
        title: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        answer: &Answer,
    ) {
        let blank = if self.text.is_empty() { "" } else { "\n" };
        self.lines(format_args!("{blank}## {title}\n\n{method} {path}"));
        for (name, value) in headers {
            self.lines(format_args!("{name}: {}", header_value(name, value)));
        }
        if !body.is_empty() {
            self.lines(format_args!("{body}"));
        }
        self.lines(format_args!("\n{}", answer.status));
        let mut headers: Vec<_> = answer.headers.iter().filter(|(name, _)| name != "date").collect();
        headers.sort();
        for (name, value) in headers {
            self.lines(format_args!("{name}: {}", header_value(name, value)));
        }
    }

    fn json(&mut self, mut body: Value) {
        redact(&mut body);
        self.lines(format_args!("{body:#}"));
    }

    fn lines(&mut self, lines: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{lines}").expect("memory");
    }
}

/// The `requestId` that the body must have: every problem has that of the header, other answers have
/// none.
fn id_of_problem(answer: &Answer) -> Option<Value> {
    let is_problem = answer.header("content-type") == Some("application/problem+json");
    is_problem.then(|| json!(answer.header("x-request-id").expect("an id")))
}

fn header_value(name: &str, value: &str) -> String {
    match name {
        // The rest depends on the time that the requests before took.
        "ratelimit" => {
            let left = value.strip_prefix("\"requests\";r=").and_then(|rest| rest.split_once(";t="));
            let (left, seconds) = left.expect("what is left");
            assert!(left.parse::<u32>().is_ok() && seconds.parse::<u32>().is_ok(), "{value}");
            "\"requests\";r=[left];t=[seconds]".to_owned()
        }
        "x-request-id" => "[request]".to_owned(),
        "content-length" => "[length]".to_owned(),
        "etag" | "if-none-match" => {
            let tag = value.strip_prefix("W/\"").and_then(|rest| rest.strip_suffix('"'));
            assert!(tag.is_some_and(|tag| tag.len() >= 16), "{value}");
            "W/\"[tag]\"".to_owned()
        }
        _ => without_signature(value),
    }
}

/// Times of jobs.
const TIMES: [&str; 9] = [
    "createdAt",
    "startedAt",
    "finishedAt",
    "expiresAt",
    "madeAt",
    "checkedAt",
    "lastSignAt",
    "nextTryAt",
    "outageSince",
];

/// Replaces values that differ from run to run, but not missing ones, or ones of another type.
fn redact(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match (name.as_str(), &*field) {
                    // It depends on whether a worker has reported yet.
                    ("workerSeenAt", _) => *field = json!("[time or null]"),
                    // A dispatcher publishes the job at any moment.
                    ("waitingFor", Value::String(reason)) if ["turn", "delivery"].contains(&&**reason) => {
                        *field = json!("[turn or delivery]");
                    }
                    (name, Value::String(time)) if TIMES.contains(&name) => {
                        assert!(time.len() == 24 && time.ends_with('Z'), "{name}: {time}");
                        *field = json!("[time]");
                    }
                    ("refreshedAt" | "updatedAt" | "catalogRefreshedAt", Value::String(time)) => {
                        assert!(time.ends_with('Z'), "{name}: {time}");
                        *field = json!("[time]");
                    }
                    (
                        "bytes" | "durationMs" | "peakMemoryBytes" | "ageSeconds" | "workersAlive",
                        Value::Number(_),
                    ) => {
                        *field = json!("[number]");
                    }
                    ("requestId", Value::String(_)) => *field = json!("[request]"),
                    ("sha256", Value::String(hash)) if hash.len() == 64 => *field = json!("[sha256]"),
                    ("warnings", Value::Array(all)) => {
                        // What the catalog knew at that moment.
                        let mut all = all.clone();
                        all.retain(|warning| {
                            warning["code"] != "catalog_not_ready" && warning["code"] != "after_last_data"
                        });
                        *field = all.into();
                    }
                    (_, Value::String(text)) => *field = json!(without_signature(text)),
                    _ => redact(field),
                }
            }
        }
        _ => {}
    }
}

/// An address without the parameters of its signature.
fn without_signature(text: &str) -> String {
    match text.split_once('?') {
        Some((address, query)) if query.contains("X-Amz-Signature=") => format!("{address}?[signature]"),
        _ => text.to_owned(),
    }
}

/// A line without the nonce of an attempt's object, `…/1-<nonce>.zip`.
fn without_nonce(line: &str) -> String {
    let Some((before, attempt)) = line.split_once("job]/1-") else { return line.to_owned() };
    let end = attempt.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(attempt.len());
    format!("{before}job]/1-[nonce]{}", &attempt[end..])
}
