//! The real API and workers, with default settings: only names, ports and credentials are set.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use export_bench::own::{Own, free_address};
use tokio::process::Child;

use crate::client::is_ready;

/// Time from start to readiness, on a busy machine.
const START: Duration = Duration::from_mins(1);
/// Delay between two checks of readiness.
const PAUSE: Duration = Duration::from_millis(100);

/// Running programs, killed when dropped.
pub(crate) struct Service {
    own: Own,
    /// The folder of the logs, and the prefix of their names.
    logs: PathBuf,
    scenario: &'static str,
    extra: &'static [(&'static str, &'static str)],
    address: SocketAddr,
    api: Process,
    workers: Vec<Process>,
}

struct Process {
    child: Child,
    admin: SocketAddr,
    log: PathBuf,
}

impl Service {
    /// Starts an API and `workers` workers, and waits until all are ready. `extra` are settings of
    /// the workers that differ from the defaults.
    pub(crate) async fn start(
        own: &Own,
        logs: &Path,
        scenario: &'static str,
        workers: usize,
        extra: &'static [(&'static str, &'static str)],
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(logs).with_context(|| logs.display().to_string())?;
        let address = free_address()?;
        let of_api = [
            // The default, set explicitly for the reader: every tenant has its own key.
            ("AUTH", "keys".to_owned()),
            ("HOST", address.ip().to_string()),
            ("PORT", address.port().to_string()),
        ];
        let api = Process::start(own, "exports-api", &of_api, &logs.join(format!("{scenario}-api.log")))?;
        let mut service = Self {
            own: own.clone(),
            logs: logs.to_owned(),
            scenario,
            extra,
            address,
            api,
            workers: Vec::new(),
        };
        service.api.until_ready().await?;
        for _ in 0..workers {
            service.add_worker().await?;
        }
        Ok(service)
    }

    /// Starts one more worker and waits until it is ready.
    pub(crate) async fn add_worker(&mut self) -> anyhow::Result<()> {
        let log = self.logs.join(format!("{}-worker-{}.log", self.scenario, self.workers.len() + 1));
        let mut settings: Vec<(&str, String)> =
            self.extra.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        // As in the image and the local stack.
        let allocator = [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "1048576")];
        settings.extend(allocator.map(|(name, value)| (name, value.to_owned())));
        let mut worker = Process::start(&self.own, "exports-worker", &settings, &log)?;
        worker.until_ready().await?;
        self.workers.push(worker);
        Ok(())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The addresses of the workers' metrics.
    pub(crate) fn worker_admins(&self) -> Vec<SocketAddr> {
        self.workers.iter().map(|worker| worker.admin).collect()
    }

    /// Peak resident memory of each worker so far, in bytes (`VmHWM`).
    pub(crate) fn worker_peaks(&self) -> anyhow::Result<Vec<u64>> {
        self.workers.iter().map(Process::peak_bytes).collect()
    }

    /// Kills the first worker without warning, like a loss of power.
    pub(crate) async fn kill_first_worker(&mut self) -> anyhow::Result<()> {
        ensure!(!self.workers.is_empty(), "there is no worker to kill");
        self.workers.remove(0).child.kill().await.context("the worker cannot be killed")
    }

    /// Whether all programs still run; the error names the one that does not.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.api.check()?;
        self.workers.iter_mut().try_for_each(Process::check)
    }

    /// Ends everything at once; the leases of the workers expire later.
    pub(crate) async fn stop(mut self) {
        self.api.child.kill().await.ok();
        for worker in &mut self.workers {
            worker.child.kill().await.ok();
        }
    }
}

impl Process {
    fn start(own: &Own, program: &str, settings: &[(&str, String)], log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let admin = free_address()?;
        let child = own
            .program(program)
            .env("ADMIN_ADDR", admin.to_string())
            .env("LOG_FORMAT", "json")
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::from(file.try_clone()?))
            .stderr(Stdio::from(file))
            .spawn()
            .with_context(|| format!("`{program}` does not start"))?;
        Ok(Self { child, admin, log: log.to_owned() })
    }

    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !is_ready(self.admin).await {
            self.check()?;
            if begun.elapsed() > START {
                bail!("not ready within {} s: see {}", START.as_secs(), self.log.display());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("a program has ended by itself ({status}): see {}", self.log.display()),
        }
    }

    fn peak_bytes(&self) -> anyhow::Result<u64> {
        let pid = self.child.id().context("a worker has ended")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("a worker's memory")?;
        export_bench::usage::peak_bytes_of(&status)
    }
}
