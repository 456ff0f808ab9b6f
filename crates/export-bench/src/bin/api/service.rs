//! The benchmark's own API, on names of its own, without a worker: workers are measured by another
//! benchmark.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use export_bench::own::{Own, free_address};
use serde_json::Value;
use tokio::process::Child;

use crate::connection::Connection;

/// From start to the first answer.
const START: Duration = Duration::from_secs(30);

pub(crate) struct Service {
    pub(crate) own: Own,
    address: SocketAddr,
    api: Child,
}

impl Service {
    /// Provisions and starts an API on the services whose addresses `cargo xtask` passes.
    pub(crate) async fn start(programs: &Path) -> anyhow::Result<Self> {
        let own = Own::provision(programs, "cargo xtask bench api", "bench").await?;
        let [address, admin] = [free_address()?, free_address()?];
        let api = own
            .program("exports-api")
            .env("AUTH", "none")
            // All requests are identical, and each must become a job of its own.
            .env("SHARE_RESULTS", "off")
            // All requests come from one address, and the limits per caller are not measured.
            .envs(
                [
                    "REQUESTS_PER_SECOND",
                    "REQUESTS_AT_ONCE",
                    "MAX_REQUESTS",
                    "MAX_REQUESTS_PER_CALLER",
                    "MAX_CONNECTIONS_PER_ADDRESS",
                ]
                .map(|name| (name, "100000")),
            )
            // No job runs, and the bare loop's jobs wait as well: minutes of both are more than a
            // hundred thousand jobs.
            .envs(
                ["MAX_QUEUED_PER_TENANT", "MAX_QUEUED", "MAX_JOBS_PER_HOUR_PER_TENANT"]
                    .map(|name| (name, "1000000")),
            )
            .env("HOST", address.ip().to_string())
            .env("PORT", address.port().to_string())
            .env("ADMIN_ADDR", admin.to_string())
            // As in production: a line for each request, written somewhere.
            .env("LOG_FORMAT", "json")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("`exports-api` does not start")?;
        let service = Self { own, address, api };
        service.until_it_answers().await?;
        Ok(service)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn post_request(&self) -> Vec<u8> {
        let body = r#"{"startDate":"2018-11-30","endDate":"2018-12-01"}"#;
        format!(
            "POST /export HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .into_bytes()
    }

    pub(crate) fn get_request(&self, path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).into_bytes()
    }

    /// Posts a job; returns its path.
    pub(crate) async fn accepted_path(&self) -> anyhow::Result<String> {
        let mut connection = Connection::open(self.address).await?;
        let answer = connection.exchange(&self.post_request()).await?;
        ensure!(answer.status == 202, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        let job: Value = serde_json::from_slice(&answer.body)?;
        let id = job["_id"].as_str().context("the job has no _id")?;
        Ok(format!("/export/{id}"))
    }

    /// Ends the API.
    pub(crate) async fn stop(mut self) {
        self.api.kill().await.ok();
    }

    async fn until_it_answers(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while let Err(error) = self.accepted_path().await {
            if begun.elapsed() > START {
                bail!("the API does not accept: {error:#}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}
