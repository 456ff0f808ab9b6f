//! The workspace's own programs, built once by one cargo command.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::layout::Layout;
use crate::{console, foreground};

/// A first build from nothing on two slow cores.
pub(crate) const BUILD_LIMIT: Duration = Duration::from_mins(45);

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) api: PathBuf,
    pub(crate) worker: PathBuf,
    pub(crate) cli: PathBuf,
    pub(crate) testkit: PathBuf,
}

/// Builds the programs in the dev profile, which the tests share: one target folder, nothing compiled twice.
pub(crate) fn build(layout: &Layout) -> anyhow::Result<Programs> {
    console::step("building the programs (the first time takes minutes)");
    let mut command = cargo(layout);
    command.args(["build", "--message-format=json-render-diagnostics"]);
    if !std::io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    for package in ["export-api", "export-worker", "export-cli", "export-testkit"] {
        command.args(["--package", package]);
    }
    let (status, messages) = foreground::capture(&mut command, BUILD_LIMIT)?;
    ensure!(status.success(), "cargo build failed ({status})");
    let executables: Vec<(String, PathBuf)> = messages.lines().filter_map(executable).collect();
    let find = |name: &str| {
        let found = executables.iter().find(|(target, _)| target == name).map(|(_, path)| path.clone());
        found.with_context(|| format!("cargo build made no program `{name}`"))
    };
    Ok(Programs {
        api: find("exports-api")?,
        worker: find("exports-worker")?,
        cli: find("exports")?,
        testkit: find("export-testkit")?,
    })
}

/// Cargo, as if called from a shell.
///
/// `cargo run`, which started this program, describes the xtask package in the environment; build scripts that look at these
/// variables would run again, and what depends on them be compiled again, at every turn from here to a shell.
pub(crate) fn cargo(layout: &Layout) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| is_of_package(name)) {
        command.env_remove(name);
    }
    command.current_dir(&layout.root);
    command
}

fn is_of_package(name: &str) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
        || matches!(name, "CARGO_PRIMARY_PACKAGE" | "OUT_DIR")
}

/// Target name and file of one of cargo's messages, if it is about a program.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message["executable"].as_str()?;
    Some((message["target"]["name"].as_str()?.to_owned(), path.into()))
}
