//! What containers may do, and what they cost.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::project::Project;
use crate::console;

/// The services, and whether each is restarted for ever.
const SERVICES: [(&str, bool); 6] = [
    ("mongodb", true),
    ("rabbitmq", true),
    ("s3", true),
    ("provision", false),
    ("api", true),
    ("worker", true),
];
/// How long the idle stack is measured.
const IDLE: Duration = Duration::from_secs(45);
/// Most processor time of the idle stack, in percent of one core. It takes about 4.
const IDLE_PERCENT_MAX: f64 = 8.0;

pub(super) fn e7_every_container_is_confined(project: &Project) -> anyhow::Result<()> {
    for (service, is_lasting) in SERVICES {
        let containers = project.inspect(service)?;
        ensure!(!containers.is_empty(), "{service} has no container");
        for container in &containers {
            check(container, is_lasting).with_context(|| service.to_owned())?;
        }
    }
    Ok(())
}

fn check(container: &Value, is_lasting: bool) -> anyhow::Result<()> {
    let host = &container["HostConfig"];
    let has = |list: &Value, wanted: &str| {
        list.as_array().is_some_and(|list| {
            list.iter().any(|one| one.as_str().is_some_and(|one| one.starts_with(wanted)))
        })
    };
    ensure!(has(&host["CapDrop"], "ALL"), "CapDrop {}", host["CapDrop"]);
    ensure!(host["CapAdd"].as_array().is_none_or(Vec::is_empty), "CapAdd {}", host["CapAdd"]);
    ensure!(has(&host["SecurityOpt"], "no-new-privileges"), "SecurityOpt {}", host["SecurityOpt"]);
    ensure!(host["Privileged"] == false, "privileged");
    ensure!(host["ReadonlyRootfs"] == true, "its root can be written");
    ensure!(host["Memory"].as_u64() > Some(0), "no memory limit");
    ensure!(host["PidsLimit"].as_i64() > Some(0), "no limit of processes");
    let log = &host["LogConfig"]["Config"];
    ensure!(log["max-size"].is_string() && log["max-file"].is_string(), "logs are not rotated: {log}");
    let policy = &host["RestartPolicy"];
    if is_lasting {
        ensure!(policy["Name"] == "always", "restart {policy}");
        ensure!(container["State"]["Health"]["Status"] == "healthy", "{}", container["State"]["Health"]);
    } else {
        ensure!(policy["Name"] == "on-failure" && policy["MaximumRetryCount"] == 3, "restart {policy}");
        ensure!(container["State"]["ExitCode"] == 0, "{}", container["State"]);
    }
    for bindings in host["PortBindings"].as_object().into_iter().flatten().filter_map(|(_, to)| to.as_array())
    {
        ensure!(bindings.iter().all(|to| to["HostIp"] == "127.0.0.1"), "ports {bindings:?}");
    }
    Ok(())
}

pub(super) fn e6_the_idle_stack_takes_little(project: &Project) -> anyhow::Result<()> {
    let before = processor_ns(project)?;
    thread::sleep(IDLE);
    let used = processor_ns(project)?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "some seconds in nanoseconds")]
    let percent = used as f64 / IDLE.as_nanos() as f64 * 100.0;
    console::line(format_args!("         the idle stack takes {percent:.1} % of a core"));
    ensure!(percent <= IDLE_PERCENT_MAX, "{percent:.1} % of a core");
    Ok(())
}

/// Processor time of all containers so far, with their health checks.
fn processor_ns(project: &Project) -> anyhow::Result<u64> {
    let mut sum = 0;
    for (service, is_lasting) in SERVICES {
        for container in project.inspect(service)?.iter().filter(|_| is_lasting) {
            let pid = container["State"]["Pid"].as_u64().context("no process")?;
            sum += of_group(pid).with_context(|| service.to_owned())?;
        }
    }
    Ok(sum)
}

/// Processor time of the control group of a process, of either version of control groups.
fn of_group(pid: u64) -> anyhow::Result<u64> {
    let groups =
        fs::read_to_string(format!("/proc/{pid}/cgroup")).context("the engine is on another machine")?;
    for group in groups.lines() {
        let Some((controllers, path)) = group.split_once(':').and_then(|(_, rest)| rest.split_once(':'))
        else {
            continue;
        };
        if controllers.is_empty()
            && let Ok(text) = fs::read_to_string(format!("/sys/fs/cgroup{path}/cpu.stat"))
        {
            let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok());
            return Ok(usage.context("cpu.stat has no usage")? * 1_000);
        }
        if controllers.split(',').any(|name| name == "cpuacct") {
            let places =
                ["cpuacct", controllers].map(|name| format!("/sys/fs/cgroup/{name}{path}/cpuacct.usage"));
            if let Some(text) = places.iter().find_map(|path| fs::read_to_string(path).ok()) {
                return Ok(text.trim().parse()?);
            }
        }
    }
    bail!("the processor time of process {pid} cannot be read")
}
