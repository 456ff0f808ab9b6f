//! The test runner: cargo-nextest if it is installed, else cargo's own.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::layout::Layout;
use crate::programs::{BUILD_LIMIT, cargo};
use crate::testing::{report, slowest, unrun};
use crate::{console, foreground};

/// How many tests nextest runs at a time.
const TEST_THREADS: &str = "NEXTEST_TEST_THREADS";
/// Most tests wait for services. The groups in `.config/nextest.toml` limit the others.
const TESTS_PER_CORE: usize = 3;
/// Time limit of all tests and their build, which take 20 to 30 minutes on two cores.
const TEST_LIMIT: Duration = Duration::from_mins(90);
/// Time limit of the check whether a subcommand exists.
const QUESTION_LIMIT: Duration = Duration::from_secs(20);
/// Exit code of nextest for options that a subcommand does not have.
const USAGE_ERROR: i32 = 2;

/// The tests of `--quick`: two commands, so that the integration tests of the other crates need not
/// even be linked.
const QUICK: [&[&str]; 2] = [
    // All unit tests.
    &["--workspace", "--lib", "--bins"],
    // The model without its longest run, the engine, and one export through the whole service.
    &[
        "--package=export-model",
        "--package=export-engine",
        "--package=export-e2e",
        "--test=it",
        "--filterset=not (package(export-e2e) | test(=protocol::three_faults)) \
         | test(=accepted::a_job_from_accepted_to_finished)",
    ],
];

/// Runs all tests, or the tests that `arguments` select. Documentation examples run first, because
/// nextest leaves them out and its summary should end the output.
pub(crate) fn run(
    layout: &Layout,
    variables: &[(String, String)],
    arguments: &[String],
) -> anyhow::Result<ExitCode> {
    let has_nextest = has_nextest(layout);
    if has_nextest && arguments.is_empty() && has_documentation_tests(&layout.root) {
        let status = run_cargo(layout, variables, &["test", "--doc", "--workspace"], &[])?;
        if !status.success() {
            return Ok(exit_code(status));
        }
    }
    if has_nextest {
        return run_nextest(layout, variables, &["--workspace"], arguments);
    }
    let command = ["test", "--workspace", "--no-fail-fast"];
    Ok(exit_code(run_cargo(layout, variables, &command, arguments)?))
}

/// Runs the tests of [`QUICK`].
pub(crate) fn run_quick(layout: &Layout, variables: &[(String, String)]) -> anyhow::Result<ExitCode> {
    ensure!(has_nextest(layout), "--quick needs cargo-nextest (https://nexte.st)");
    for selection in QUICK {
        let code = run_nextest(layout, variables, selection, &[])?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the selected tests, lists the slowest and checks that every one of them ran.
fn run_nextest(
    layout: &Layout,
    variables: &[(String, String)],
    selection: &[&str],
    arguments: &[String],
) -> anyhow::Result<ExitCode> {
    report::remove(layout);
    let command = [&["nextest", "run", "--no-fail-fast"], selection].concat();
    let status = run_cargo(layout, variables, &command, arguments)?;
    let Some(ran) = report::read(layout) else {
        ensure!(!status.success(), "cargo nextest wrote no report of the tests that ran");
        return Ok(exit_code(status));
    };
    slowest::print(&ran);
    if let Some(list) = list(layout, variables, selection, arguments)? {
        unrun::check(&list, &ran)?;
    }
    Ok(exit_code(status))
}

/// What nextest would run, as JSON; `None` if `arguments` have an option that only `run` has, such
/// as `--retries`.
fn list(
    layout: &Layout,
    variables: &[(String, String)],
    selection: &[&str],
    arguments: &[String],
) -> anyhow::Result<Option<String>> {
    let mut command = with_variables(layout, variables);
    command.args(["nextest", "list", "--message-format", "json"]).args(selection).args(arguments);
    // Everything is built, but another cargo may hold the lock of the target folder.
    let (status, list) = foreground::capture(command.stderr(Stdio::null()), BUILD_LIMIT)
        .context("the tests could not be listed")?;
    if status.code() == Some(USAGE_ERROR) {
        console::step(
            "not checked whether every test ran: the arguments have options that `cargo nextest list` does not have",
        );
        return Ok(None);
    }
    ensure!(status.success(), "the tests could not be listed: cargo nextest list failed ({status})");
    Ok(Some(list))
}

fn run_cargo(
    layout: &Layout,
    variables: &[(String, String)],
    subcommand: &[&str],
    arguments: &[String],
) -> anyhow::Result<ExitStatus> {
    console::step(format!("cargo {} {}", subcommand.join(" "), arguments.join(" ")).trim_end());
    let mut command = with_variables(layout, variables);
    foreground::run(command.args(subcommand).args(arguments), TEST_LIMIT)
}

fn with_variables(layout: &Layout, variables: &[(String, String)]) -> Command {
    let mut command = cargo(layout);
    if std::env::var_os(TEST_THREADS).is_none() {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        command.env(TEST_THREADS, (cores * TESTS_PER_CORE).to_string());
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

fn has_nextest(layout: &Layout) -> bool {
    let mut command = cargo(layout);
    command.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    foreground::run(&mut command, QUESTION_LIMIT).is_ok_and(|status| status.success())
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Whether a source file has an example that the compiler would run; looking is quicker than asking
/// rustdoc about every crate.
fn has_documentation_tests(root: &Path) -> bool {
    has_example(&root.join("crates"))
}

fn has_example(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.filter_map(Result::ok).map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return has_example(&path);
        }
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        is_source && fs::read_to_string(&path).is_ok_and(|text| holds_example(&text))
    })
}

/// Whether a documentation comment opens a code fence that names no language, or Rust.
fn holds_example(source: &str) -> bool {
    let mut is_inside = false;
    for line in source.lines().map(str::trim_start) {
        let Some(comment) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
            is_inside = false;
            continue;
        };
        let Some(language) = comment.trim_start().strip_prefix("```") else { continue };
        let is_rust = language.is_empty()
            || ["rust", "no_run", "should_panic"].iter().any(|name| language.starts_with(name));
        if !is_inside && is_rust {
            return true;
        }
        is_inside = !is_inside;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::holds_example;

    #[test]
    fn only_rust_examples_count() {
        assert!(holds_example("    /// ```rust\n    /// ```\n"));
        assert!(holds_example("/// ```text\n/// ```\n/// ```\n"));
        assert!(holds_example("//! ```no_run"));
        assert!(!holds_example("/// ```text\n/// a\n/// ```\nfn f() {}\n"));
        assert!(!holds_example("let fence = \"```rust\";"));
    }
}
