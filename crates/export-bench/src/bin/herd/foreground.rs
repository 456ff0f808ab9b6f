//! The load of the database's other users: point queries at a fixed rate, over one connection, all
//! the time.
//!
//! The loop is open: each query has a scheduled time, and its latency counts from then, also when
//! the previous query is late. The loop has its own thread and runtime, so that the rest of this
//! program does not delay it.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use export_bench::latency::Latencies;
use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};

use crate::APP_NAME;
use crate::fleet::Fleet;
use crate::stop::{Stop, Stopper};

/// Interval of the queries: far below the database's capacity, so that the latencies are not those
/// of a queue.
const INTERVAL: Duration = Duration::from_millis(10);
/// A query that takes longer is stuck, and so is the run.
const ANSWER: Duration = Duration::from_mins(1);

/// The queries since [`Foreground::begin`].
pub(crate) struct Foreground {
    stopper: Stopper,
    thread: JoinHandle<anyhow::Result<Vec<Query>>>,
}

/// One query.
#[derive(Clone, Copy)]
pub(crate) struct Query {
    intended: Instant,
    /// `None` if the run ended first: then the query has waited for at least this long.
    sent: Option<Instant>,
    answered: Instant,
}

impl Foreground {
    pub(crate) fn begin(mongodb_uri: &str, fleet: &Arc<Fleet>, seed: u64) -> Self {
        let stopper = Stopper::default();
        let (uri, fleet, stop) = (mongodb_uri.to_owned(), Arc::clone(fleet), stopper.stop());
        let thread = thread::spawn(move || ask(&uri, &fleet, seed, &stop));
        Self { stopper, thread }
    }

    /// Ends the queries.
    pub(crate) fn end(self) -> anyhow::Result<Vec<Query>> {
        drop(self.stopper);
        let ended =
            self.thread.join().map_err(|_| anyhow::anyhow!("the foreground queries have panicked"))?;
        ended.context("a foreground query failed")
    }
}

/// The latencies of the queries that were scheduled between these times: from when they should have
/// begun, and from when they were sent.
pub(crate) fn between(queries: &[Query], from: Instant, to: Instant) -> (Latencies, Latencies) {
    let within: Vec<&Query> = queries.iter().filter(|query| (from..to).contains(&query.intended)).collect();
    let waited = within.iter().map(|query| query.answered - query.intended).collect();
    let asked = within.iter().filter_map(|query| Some(query.answered - query.sent?)).collect();
    (Latencies::of(waited, to - from), Latencies::of(asked, to - from))
}

fn ask(uri: &str, fleet: &Fleet, seed: u64, stop: &Stop) -> anyhow::Result<Vec<Query>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = runtime.block_on(async {
        let mut options = ClientOptions::parse(uri).await?;
        options.app_name = Some(APP_NAME.to_owned());
        options.max_pool_size = Some(1);
        options.min_pool_size = Some(1);
        Client::with_options(options)
    })?;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut queries = Vec::new();
    let mut intended = Instant::now();
    while !stop.is_wanted() {
        // The runtime's own timer has steps of a millisecond, which is as long as a query takes.
        thread::sleep(intended.saturating_duration_since(Instant::now()));
        let (vehicle, parameter, hour_ms) = *random.choice(&fleet.documents).context("an empty fleet")?;
        let collection: Collection<RawDocumentBuf> =
            client.database(&fleet.vehicles[vehicle]).collection(parameter);
        let sent = Instant::now();
        let found = runtime.block_on(async {
            tokio::time::timeout(ANSWER, async { collection.find_one(doc! { "_id": hour_ms }).await }).await
        });
        let found = found.context("no answer")??;
        queries.push(Query { intended, sent: Some(sent), answered: Instant::now() });
        ensure!(found.is_some(), "{}.{parameter} has lost the document {hour_ms}", fleet.vehicles[vehicle]);
        intended += INTERVAL;
    }
    let end = Instant::now();
    while intended < end {
        queries.push(Query { intended, sent: None, answered: end });
        intended += INTERVAL;
    }
    Ok(queries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_was_late_has_waited_since_it_ought_to_have_begun() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let query = |intended, sent: Option<u64>, answered| Query {
            intended: at(intended),
            sent: sent.map(at),
            answered: at(answered),
        };
        // The second one is of another phase, the third was never sent.
        let queries = [query(10, Some(40), 50), query(2_000, Some(2_000), 9_000), query(20, None, 90)];
        let (waited, asked) = between(&queries, begun, at(1_000));
        assert_eq!((waited.operations, asked.operations), (2, 1));
        for (found, expected) in [(waited.p50_ms, 40.0), (waited.max_ms, 70.0), (asked.max_ms, 10.0)] {
            assert!((found - expected).abs() < 1e-9, "{found}");
        }
    }
}
