//! `cargo xtask down`: stops the processes in the stack's records, and no others.

use std::fs;

use anyhow::Context as _;

use crate::layout::Layout;
use crate::services::{docker, native};
use crate::stack::Members;
use crate::{background, console};

/// Stops everything; with `purge`, deletes data, logs and state as well.
pub(crate) fn run(purge: bool) -> anyhow::Result<()> {
    let layout = Layout::find()?;
    let instance = layout.stack();
    let _lock = instance.lock()?;
    let parts = Members::PARTS.into_iter().chain(native::PARTS);
    let mut ended = Vec::new();
    for part in parts {
        if background::stop(&instance, part, background::STOP_GRACE)? {
            ended.push(part.to_owned());
        }
    }
    let containers = docker::started_services(&instance);
    // Volumes can outlive their containers' record, so a purge asks Compose if it is installed.
    if !containers.is_empty() || (purge && docker::has_engine() && docker::has_compose()) {
        docker::stop(&layout, &[], purge)?;
        ended.extend(containers.into_iter().map(|service| format!("container {service}")));
    }
    console::step(if ended.is_empty() {
        "nothing was running".to_owned()
    } else {
        format!("ended: {}", ended.join(", "))
    });
    if purge {
        fs::remove_dir_all(&instance.dir).with_context(|| instance.dir.display().to_string())?;
        console::step(format!("deleted {}", instance.dir.display()));
    }
    Ok(())
}

/// Stops only these parts, which one run started.
pub(crate) fn only(layout: &Layout, started: &[String]) -> anyhow::Result<()> {
    let instance = layout.stack();
    let _lock = instance.lock()?;
    let is_started = |part: &str| started.iter().any(|name| name == part);
    for part in Members::PARTS.into_iter().chain(native::PARTS).filter(|part| is_started(part)) {
        background::stop(&instance, part, background::STOP_GRACE)?;
    }
    let all = docker::started_services(&instance);
    let containers: Vec<String> = all.iter().filter(|service| is_started(service)).cloned().collect();
    if containers.is_empty() {
        return Ok(());
    }
    let is_all = containers.len() == all.len();
    docker::stop(&layout.clone(), if is_all { &[] } else { &containers }, false)
}
