//! Checks results of FINISHED jobs: downloads a few and counts their rows.

use std::io::{Cursor, Read};
use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use zip::ZipArchive;

use crate::client::{Tenant, download};
use crate::jobs::Ended;

/// Checks `count` of these jobs' results, spread evenly; returns how many were right, and adds the
/// errors to `wrong`.
pub(crate) async fn sample(
    address: SocketAddr,
    tenants: &[Tenant],
    jobs: &[Ended],
    count: usize,
    wrong: &mut Vec<String>,
) -> usize {
    let mut good = 0;
    for job in jobs.iter().step_by((jobs.len() / count.max(1)).max(1)).take(count) {
        let Some(tenant) = tenants.iter().find(|tenant| tenant.name == job.tenant).cloned() else { continue };
        let id = job.id.clone();
        let checked = tokio::task::spawn_blocking(move || check(address, &tenant, &id)).await;
        match checked.map_err(anyhow::Error::from).flatten() {
            Ok(()) => good += 1,
            Err(error) => wrong.push(format!("the result of {}: {error:#}", job.id)),
        }
    }
    good
}

/// Size and checksum are as the worker stored them; each file has the rows that the manifest
/// states, and the manifest has the numbers of the job.
fn check(address: SocketAddr, tenant: &Tenant, job_id: &str) -> anyhow::Result<()> {
    let (job, bytes) = download(address, tenant, job_id)?;
    let stats = &job["stats"];
    ensure!(stats["bytes"].as_u64() == Some(bytes.len() as u64), "{} bytes, stats: {stats}", bytes.len());
    let sha256 = Sha256::digest(&bytes).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    ensure!(stats["sha256"] == sha256.as_str(), "SHA-256 {sha256}, stats: {stats}");
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    let manifest: Value = serde_json::from_reader(archive.by_name("manifest.json")?)?;
    let vehicles = manifest["vehicles"].as_array().context("the manifest lists no vehicles")?;
    let asked = job["vehicles"].as_array().context("the job names no vehicles")?;
    ensure!(vehicles.len() == asked.len(), "{} vehicles instead of {}", vehicles.len(), asked.len());
    let mut rows = 0;
    for vehicle in vehicles {
        let entry = vehicle["entry"].as_str().context("a vehicle without an entry")?;
        let lines = lines(archive.by_name(entry)?)?;
        ensure!(Some(lines) == vehicle["rows"].as_u64().map(|rows| rows + 1), "{entry} has {lines} lines");
        rows += lines - 1;
    }
    ensure!(Some(rows) == stats["rows"].as_u64(), "{rows} rows, stats: {stats}");
    ensure!(rows > 0, "nothing was exported");
    Ok(())
}

/// Lines of a file, read to its end, so that its CRC-32 is checked, too.
fn lines(mut file: impl Read) -> anyhow::Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut lines = 0;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(lines);
        }
        lines += buffer[..length].split(|byte| *byte == b'\n').count() as u64 - 1;
    }
}
