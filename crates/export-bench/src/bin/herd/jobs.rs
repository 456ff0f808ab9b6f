//! Stored jobs: counted twice a second while they run, which does not load the service, and read in
//! full when they have ended.
//!
//! All times are MongoDB's, so that clocks are never compared with each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};

use crate::client::Tenant;
use crate::service::Service;

/// Delay between two counts of ended jobs.
const PAUSE: Duration = Duration::from_millis(500);
/// One batch holds all, so that this program leaves no cursor open.
const ALL_AT_ONCE: u32 = 100_000;

/// The stored jobs of some tenants.
pub(crate) struct Jobs {
    jobs: Collection<Document>,
    tenants: Vec<String>,
}

/// A job after its end.
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) state: String,
    /// Unix milliseconds.
    pub(crate) created_ms: i64,
    /// Unix milliseconds.
    pub(crate) finished_ms: i64,
    pub(crate) export_uri: Option<String>,
    /// Number of attempts.
    pub(crate) attempts: i64,
}

impl Jobs {
    pub(crate) fn of<'a>(
        client: &Client,
        database: &str,
        tenants: impl IntoIterator<Item = &'a Tenant>,
    ) -> Self {
        let tenants = tenants.into_iter().map(|tenant| tenant.name.clone()).collect();
        Self { jobs: client.database(database).collection("jobs"), tenants }
    }

    /// Number of jobs in each state.
    pub(crate) async fn states(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let stages = [
            doc! { "$match": { "tenant": { "$in": &self.tenants } } },
            doc! { "$group": { "_id": "$state", "count": { "$sum": 1 } } },
        ];
        let groups: Vec<Document> = self.jobs.aggregate(stages).await?.try_collect().await?;
        let counted = groups.iter().map(|group| {
            let count = group.get_i32("count").unwrap_or_default();
            (group.get_str("_id").unwrap_or_default().to_owned(), usize::try_from(count).unwrap_or_default())
        });
        Ok(counted.collect())
    }

    /// Waits until this many jobs have ended.
    pub(crate) async fn until_ended(
        &self,
        service: &mut Service,
        count: usize,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let states = self.states().await?;
            let active: usize =
                ["NOT_STARTED", "STARTED"].iter().filter_map(|state| states.get(*state)).sum();
            let all: usize = states.values().sum();
            if all - active >= count {
                return Ok(());
            }
            service.check()?;
            if begun.elapsed() > limit {
                bail!("not {count} exports have ended within {} s: {states:?}", limit.as_secs());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// All of them.
    pub(crate) async fn all(&self) -> anyhow::Result<Vec<Ended>> {
        let wanted =
            doc! { "tenant": 1, "state": 1, "createdAt": 1, "finishedAt": 1, "exportUri": 1, "attempts": 1 };
        let found = self.jobs.find(doc! { "tenant": { "$in": &self.tenants } });
        let found: Vec<Document> =
            found.projection(wanted).batch_size(ALL_AT_ONCE).await?.try_collect().await?;
        found.iter().map(|job| Self::ended(job).with_context(|| format!("a job: {job}"))).collect()
    }

    fn ended(job: &Document) -> anyhow::Result<Ended> {
        Ok(Ended {
            id: job.get_str("_id")?.to_owned(),
            tenant: job.get_str("tenant")?.to_owned(),
            state: job.get_str("state")?.to_owned(),
            created_ms: job.get_datetime("createdAt")?.timestamp_millis(),
            // `None` if it has not ended, which is then reported.
            finished_ms: job.get_datetime("finishedAt").map_or(i64::MAX, |at| at.timestamp_millis()),
            export_uri: job.get_str("exportUri").ok().map(str::to_owned),
            attempts: job.get_i64("attempts")?,
        })
    }
}

/// Defects of these jobs: there should be this many, all FINISHED.
pub(crate) fn complaints(jobs: &[Ended], count: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    if jobs.len() != count {
        wrong.push(format!("{} jobs are stored instead of {count}", jobs.len()));
    }
    let other: Vec<&Ended> = jobs.iter().filter(|job| job.state != "FINISHED").collect();
    if let Some(first) = other.first() {
        wrong.push(format!("{} jobs are not FINISHED: {} is {}", other.len(), first.id, first.state));
    }
    wrong
}
