//! The workspace's own programs, built once by one cargo command.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::layout::Layout;
use crate::{console, foreground};

/// A build from scratch on two slow cores.
pub(crate) const BUILD_LIMIT: Duration = Duration::from_mins(45);

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) api: PathBuf,
    pub(crate) worker: PathBuf,
    pub(crate) cli: PathBuf,
    pub(crate) testkit: PathBuf,
    /// All that were built, by name.
    all: BTreeMap<String, PathBuf>,
}

impl Programs {
    fn of(all: BTreeMap<String, PathBuf>) -> anyhow::Result<Self> {
        Ok(Self {
            api: find(&all, "exports-api")?,
            worker: find(&all, "exports-worker")?,
            cli: find(&all, "exports")?,
            testkit: find(&all, "export-testkit")?,
            all,
        })
    }

    /// The program of that name.
    pub(crate) fn find(&self, name: &str) -> anyhow::Result<PathBuf> {
        find(&self.all, name)
    }
}

fn find(all: &BTreeMap<String, PathBuf>, name: &str) -> anyhow::Result<PathBuf> {
    all.get(name).cloned().with_context(|| format!("cargo build made no program `{name}`"))
}

/// The optimised programs of another checkout.
pub(crate) fn of_folder(folder: &Path) -> anyhow::Result<Programs> {
    let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
    let names = ["exports-api", "exports-worker", "exports", "export-testkit", "bench-engine"];
    let all: BTreeMap<String, PathBuf> =
        names.into_iter().map(|name| (name.to_owned(), folder.join(name))).collect();
    for path in all.values() {
        ensure!(path.is_file(), "there is no {}: build it with `cargo build --release`", path.display());
    }
    Programs::of(all)
}

/// The purpose of a build of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The stack, in the dev profile, which the tests share: one target folder, so nothing is
    /// compiled twice.
    Stack,
    /// The benchmark: optimised, with the benchmark's own programs.
    Benchmark,
    /// A first look at a benchmark, with the programs of the tests.
    BenchmarkUnoptimised,
    /// Schedules of faults: the same programs as the tests', and the one that plays the schedules.
    Chaos,
}

/// Builds the programs.
pub(crate) fn build(layout: &Layout, purpose: Purpose) -> anyhow::Result<Programs> {
    console::step("building the programs (the first time takes minutes)");
    let mut command = cargo(layout);
    command.args(["build", "--message-format=json-render-diagnostics"]);
    if !std::io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    for package in ["export-api", "export-worker", "export-cli", "export-testkit"] {
        command.args(["--package", package]);
    }
    if purpose == Purpose::Benchmark {
        command.arg("--release");
    }
    if matches!(purpose, Purpose::Benchmark | Purpose::BenchmarkUnoptimised) {
        command.args(["--package", "export-bench"]);
    }
    if purpose == Purpose::Chaos {
        command.args(["--package", "export-faults"]);
    }
    let (status, messages) = foreground::capture(&mut command, BUILD_LIMIT)?;
    ensure!(status.success(), "cargo build failed ({status})");
    let all: BTreeMap<String, PathBuf> = messages.lines().filter_map(executable).collect();
    Programs::of(all)
}

/// Builds an example in the dev profile.
pub(crate) fn build_example(layout: &Layout, package: &str, example: &str) -> anyhow::Result<PathBuf> {
    console::step(format!("building {example} of {package}"));
    let mut command = cargo(layout);
    command.args(["build", "--message-format=json-render-diagnostics"]);
    command.args(["--package", package, "--example", example]);
    let (status, messages) = foreground::capture(&mut command, BUILD_LIMIT)?;
    ensure!(status.success(), "cargo build failed ({status})");
    find(&messages.lines().filter_map(executable).collect(), example)
}

/// Cargo, as if called from a shell.
///
/// `cargo run`, which started this program, describes the xtask package in the environment. Build
/// scripts that read these variables would run again, and their dependents would be compiled again,
/// at every change between this command and a shell.
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
