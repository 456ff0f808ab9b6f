//! `GET /export/{id}` at a fixed rate: the latency of a well-behaved client.

use std::time::{Duration, Instant};

use anyhow::ensure;
use export_bench::latency::Latencies;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::connection::Connection;
use crate::service::Service;

/// Clients, and the interval of each: far below the service's capacity, so that no queue adds to
/// the latency.
const CLIENTS: u32 = 4;
const INTERVAL: Duration = Duration::from_millis(20);

pub(crate) async fn run(service: &Service, path: &str, time: Duration) -> anyhow::Result<Latencies> {
    let request = service.get_request(path);
    let mut clients = JoinSet::new();
    let begun = Instant::now();
    for client in 0..CLIENTS {
        let (address, request) = (service.address(), request.clone());
        clients.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut times = Vec::new();
            // Staggered, not all at once.
            let first = tokio::time::Instant::now() + INTERVAL / CLIENTS * client;
            let mut ticks = tokio::time::interval_at(first, INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while begun.elapsed() < time {
                ticks.tick().await;
                let asked = Instant::now();
                let answer = connection.exchange(&request).await?;
                ensure!(answer.status == 200, "{}", answer.status);
                times.push(asked.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(ended) = clients.join_next().await {
        times.extend(ended??);
    }
    Ok(Latencies::of(times, begun.elapsed()))
}
