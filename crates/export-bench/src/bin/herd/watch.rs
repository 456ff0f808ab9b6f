//! Polls the database: the number of its open cursors, and of the running reads of vehicles.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Client, Database};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::APP_NAME;
use crate::stop::{Stop, Stopper};

/// Delay between two reads of the counters, which cost the server a fraction of a millisecond.
const INTERVAL: Duration = Duration::from_millis(50);
/// The operations are listed every this many polls.
const LISTED_EVERY: u64 = 4;

/// The maxima.
#[derive(Debug, Default, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seen {
    /// How often was looked.
    looks: u64,
    /// Open cursors of the whole server, of all clients.
    pub(crate) open_cursors: i64,
    /// Those of them that were being read from.
    pinned_cursors: i64,
    /// Those without a time limit.
    no_timeout_cursors: i64,
    /// Operations on vehicles' databases, and idle cursors there; without this program's own.
    pub(crate) source_cursors: i64,
    /// The operations alone.
    pub(crate) source_reads: i64,
}

/// Polls every 50 ms, until [`Watch::end`].
pub(crate) struct Watch {
    stopper: Stopper,
    task: JoinHandle<anyhow::Result<Seen>>,
}

impl Watch {
    pub(crate) fn begin(client: &Client, vehicle_prefix: &str) -> Self {
        let stopper = Stopper::default();
        let (client, prefix, stop) = (client.clone(), vehicle_prefix.to_owned(), stopper.stop());
        let task = tokio::spawn(async move { look(&client, &prefix, &stop).await });
        Self { stopper, task }
    }

    pub(crate) async fn end(self) -> anyhow::Result<Seen> {
        drop(self.stopper);
        self.task.await?.context("the database cannot be watched")
    }
}

async fn look(client: &Client, vehicle_prefix: &str, stop: &Stop) -> anyhow::Result<Seen> {
    let admin = client.database("admin");
    let status = status_of_counters(&admin).await?;
    let operations = [
        doc! { "$currentOp": { "allUsers": true, "idleCursors": true } },
        doc! { "$match": {
            "ns": { "$regex": format!("^{vehicle_prefix}") },
            "appName": { "$ne": APP_NAME },
        } },
        doc! { "$group": { "_id": "$type", "count": { "$sum": 1 } } },
    ];
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    while !stop.is_wanted() {
        ticks.tick().await;
        let found = admin.run_command(status.clone()).await?;
        let open = found.get_document("metrics")?.get_document("cursor")?.get_document("open")?;
        let count = |name: &str| open.get(name).and_then(whole).unwrap_or_default();
        seen.open_cursors = seen.open_cursors.max(count("total"));
        seen.pinned_cursors = seen.pinned_cursors.max(count("pinned"));
        seen.no_timeout_cursors = seen.no_timeout_cursors.max(count("noTimeout"));
        if seen.looks % LISTED_EVERY == 0 {
            let groups: Vec<Document> = admin.aggregate(operations.clone()).await?.try_collect().await?;
            let of = |is_wanted: fn(&str) -> bool| {
                let wanted =
                    groups.iter().filter(|group| is_wanted(group.get_str("_id").unwrap_or_default()));
                wanted.filter_map(|group| group.get("count").and_then(whole)).sum::<i64>()
            };
            seen.source_cursors = seen.source_cursors.max(of(|_| true));
            seen.source_reads = seen.source_reads.max(of(|kind| kind == "op"));
        }
        seen.looks += 1;
    }
    Ok(seen)
}

/// The command for the counters alone: all of serverStatus, twenty times a second, would be a load
/// of its own. Its sections can only be excluded one by one, so the program requests all of them
/// once.
async fn status_of_counters(admin: &Database) -> anyhow::Result<Document> {
    let mut command = doc! { "serverStatus": 1 };
    let all = admin.run_command(command.clone()).await?;
    // Names with a dollar are about the answer itself.
    let sections = all.iter().filter(|(name, value)| {
        value.as_document().is_some() && name.as_str() != "metrics" && !name.starts_with('$')
    });
    command.extend(sections.map(|(name, _)| (name.clone(), Bson::Int32(0))));
    Ok(command)
}

/// A counter, however the server stores it.
fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(value) => Some(i64::from(*value)),
        Bson::Int64(value) => Some(*value),
        _ => None,
    }
}
