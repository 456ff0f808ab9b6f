//! `cargo xtask status`: what runs, by the stack's records, and whether it is ready.

use crate::layout::Layout;
use crate::ports::Port;
use crate::services::{docker, native};
use crate::settings::Settings;
use crate::stack::Members;
use crate::{background, cli, console, http};

/// Prints one line per part.
pub(crate) fn run(flags: &cli::Stack) -> anyhow::Result<()> {
    let layout = Layout::find()?;
    let instance = layout.stack();
    let ports = Settings::read(&layout)?.ports(flags)?;
    for part in native::PARTS {
        if let Some(running) = background::running(&instance, part) {
            line(part, &format!("runs, 127.0.0.1:{}, process {}", running.port, running.pid()));
        }
    }
    for service in docker::started_services(&instance) {
        let state = docker::state(&layout, &service)?.unwrap_or_else(|| "absent".to_owned());
        line(&service, &format!("container: {state}"));
    }
    let admin =
        |part: &str| -> Port { if part == Members::PARTS[0] { ports.worker_admin } else { ports.api_admin } };
    for part in Members::PARTS {
        match background::running(&instance, part) {
            Some(running) => {
                let readiness = if http::is_ready(admin(part).number) { "ready" } else { "not ready" };
                line(
                    part,
                    &format!("runs, {readiness}, 127.0.0.1:{}, process {}", running.port, running.pid()),
                );
            }
            None => line(part, "does not run"),
        }
    }
    console::detail("logs", instance.dir.join("logs").display().to_string());
    Ok(())
}

fn line(part: &str, state: &str) {
    console::line(format_args!("{part:<15} {state}"));
}
