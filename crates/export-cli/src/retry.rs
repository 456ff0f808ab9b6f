//! `exports retry`: sends the requests of exports again that ended without a result.
//!
//! **No duplicates by accident.** The retry of an export has an idempotency key that is made from the
//! export's id, so the same caller gets the same new export, however often it retries. By state,
//! exports that anyone has retried already are left out. `--again` uses a new key and includes
//! exports that were retried before.

use std::collections::BTreeSet;

use chrono::Utc;
use export_core::JobId;
use export_core::job::JobState;
use export_settings::print::{Output, note};
use reqwest::Method;
use serde::Deserialize as _;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::client::{ApiArgs, Call, Client, ClientError, EXIT_CODES, Job, JobAnswer, Patience};
use crate::failure::UsageError;
use crate::job_ref::{JobRef, job_of, resolve_all};
use crate::list::state_names;
use crate::pages::Pages;
use crate::repeat::request_of;
use crate::request_args::parse_since;

/// States of exports without a result.
const RETRYABLE: [JobState; 3] = [JobState::Failed, JobState::Cancelled, JobState::Expired];
/// Most exports that are read to find those to retry.
const MAX_READ: u32 = 10_000;
/// Most exports that one command retries.
const MAX_RETRIED: i64 = 1_000;

/// Flags of `exports retry`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Retry {
    /// Exports that ended without a result: ids, parts of them as `exports list` prints them, or
    /// @last for your newest one
    #[arg(value_name = "ID", required_unless_present = "states", conflicts_with = "states")]
    jobs: Vec<JobRef>,
    /// Instead of ids: all exports in this state that were created since --since and not retried
    /// yet; repeat the flag or separate states with commas
    #[arg(long = "state", value_name = "STATE", ignore_case = true, value_delimiter = ',', value_parser = state_names(&RETRYABLE), requires = "since")]
    states: Vec<String>,
    /// With --state: a date (its midnight in UTC), a time, or how long ago: 7d, 2w (from today's
    /// midnight in UTC), 12h or 90m
    #[arg(long, value_name = "DATE", allow_hyphen_values = true, requires = "states")]
    since: Option<String>,
    /// With --state: most exports to retry, newest first
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=MAX_RETRIED), value_name = "COUNT")]
    limit: u32,
    /// Retry exports that were retried already once more
    #[arg(long)]
    again: bool,
    /// Print the ids of the exports that would be retried, and retry none
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Retry {
    pub(crate) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        let client = self.api.client(Patience::Short)?;
        let jobs =
            if self.states.is_empty() { self.named(&client).await? } else { self.found(&client).await? };
        if jobs.is_empty() {
            client.console.note("no exports to retry");
        }
        let mut refused = Vec::new();
        for old in &jobs {
            let (id, state) = (old.job.id, old.job.state.predicate());
            if self.dry_run {
                output.line(&id.to_string());
                client.console.note(&format!("{id} {state}; it would be retried"));
                continue;
            }
            match self.retry(&client, old).await {
                Ok(new) => {
                    output.line(&new.id.to_string());
                    client.console.note(&format!("{id} {state}; {}", outcome(&new)));
                }
                // The others may be accepted.
                Err(ClientError::Problem(problem)) if problem.is_refusal() && jobs.len() > 1 => {
                    refused.push((id, problem));
                }
                Err(error) => return Err(error.into()),
            }
        }
        for (id, problem) in refused.iter().skip(1) {
            note(&format!("exports: {id} cannot be retried: {problem}"));
        }
        let number = refused.len();
        match refused.into_iter().next() {
            None => Ok(()),
            Some((id, problem)) => {
                let text = format!("{number} of {} exports cannot be retried: {id}", jobs.len());
                Err(anyhow::Error::new(ClientError::Problem(problem)).context(text))
            }
        }
    }

    /// The jobs with the given ids.
    async fn named(&self, client: &Client) -> anyhow::Result<Vec<JobAnswer>> {
        let mut jobs = Vec::new();
        for id in resolve_all(client, &self.jobs).await? {
            let found = job_of(client, id).await?;
            if !RETRYABLE.contains(&found.job.state) {
                let state = found.job.state.predicate();
                let text = format!("{id} {state}; only an export that ended without a result can be retried");
                return Err(UsageError(text).into());
            }
            jobs.push(found);
        }
        Ok(jobs)
    }

    /// The jobs in the wanted states that were not retried. One list has both: the retries of jobs
    /// are newer than these.
    async fn found(&self, client: &Client) -> anyhow::Result<Vec<JobAnswer>> {
        let since = parse_since(self.since.as_deref().unwrap_or_default(), Utc::now());
        let since = since.map_err(|detail| UsageError(format!("--since: {detail}")))?;
        let mut pages = Pages::new(&["export"], vec![("since", since)], Some(MAX_READ));
        let mut jobs = Vec::new();
        let (mut retried, mut read) = (BTreeSet::new(), 0);
        while let Some(page) = pages.next(client, |page| page.exports).await? {
            read += u32::try_from(page.len()).unwrap_or(u32::MAX);
            for json in page {
                let job = Job::deserialize(&json)?;
                retried.extend(job.retry_of);
                if self.states.iter().any(|state| state == job.state.as_str()) {
                    jobs.push(JobAnswer { job, json });
                }
            }
        }
        if read >= MAX_READ {
            let text =
                format!("--since: more than {MAX_READ} exports were created since then; give a later time");
            return Err(UsageError(text).into());
        }
        Ok(self.chosen(client, jobs, &retried))
    }

    fn chosen(&self, client: &Client, jobs: Vec<JobAnswer>, retried: &BTreeSet<JobId>) -> Vec<JobAnswer> {
        let all = jobs.len();
        let mut jobs: Vec<JobAnswer> =
            jobs.into_iter().filter(|found| self.again || !retried.contains(&found.job.id)).collect();
        if jobs.len() < all {
            let before = all - jobs.len();
            client
                .console
                .note(&format!("retried before and left out: {before}; --again retries them once more"));
        }
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if jobs.len() > limit {
            let more = jobs.len() - limit;
            client
                .console
                .note(&format!("only the newest {limit} are retried, because of --limit; {more} are left"));
            jobs.truncate(limit);
        }
        jobs
    }

    async fn retry(&self, client: &Client, old: &JobAnswer) -> Result<Job, ClientError> {
        let id = old.job.id;
        let key = if self.again { Uuid::new_v4().to_string() } else { format!("retry-of-{id}") };
        let call = Call {
            headers: vec![("idempotency-key", key)],
            body: Some(Value::Object(body(old))),
            ..Call::new(Method::POST, &["export"])
        };
        Ok(JobAnswer::of(&client.call(&call).await?)?.job)
    }
}

/// The request of the old job, with its label.
fn body(old: &JobAnswer) -> Map<String, Value> {
    let mut body = request_of(&old.json);
    if let Some(label) = &old.job.label {
        body.insert("label".to_owned(), label.as_str().into());
    }
    body.insert("retryOf".to_owned(), old.job.id.to_string().into());
    body
}

/// Describes the answer to a retry. If the returned job has ended without a result already, it is
/// the job of an earlier retry.
fn outcome(new: &Job) -> String {
    let (id, state) = (new.id, new.state.predicate());
    if RETRYABLE.contains(&new.state) {
        format!("it was retried before as {id}, which {state}: retry that one, or give --again")
    } else {
        format!("retried as {id}")
    }
}
