//! Virtual environments of Python programs, made once with pinned packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::layout::Layout;
use crate::{console, foreground};

/// Downloading a few wheels on a slow line.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);
/// For asking a version.
const QUESTION_LIMIT: Duration = Duration::from_secs(20);

/// The interpreter of the environment in this folder. `requirements` is its list of packages, from
/// the workspace's root; `who` names its user in messages.
///
/// Fails without Python or pip, or when the packages cannot be installed.
pub(crate) fn environment(
    layout: &Layout,
    folder: &Path,
    requirements: &'static str,
    who: &str,
) -> anyhow::Result<PathBuf> {
    let interpreter = folder.join("bin").join("python");
    let requirements_file = layout.root.join(requirements);
    let wanted = fs::read_to_string(&requirements_file).context(requirements)?;
    // Written last, so that an incomplete environment is created again.
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(interpreter);
    }
    ensure!(has("python3", &["--version"]), "python3 is not installed");
    console::step(format!("making a Python environment for {who}"));
    fs::create_dir_all(folder)?;
    let log = folder.join("pip.log");
    let mut command = Command::new("python3");
    command.args(["-m", "venv", "--clear"]).arg(folder);
    // The log is beside the folder, because the folder is cleared.
    let venv_log = folder.with_extension("log");
    foreground::run_logged(&mut command, INSTALL_LIMIT, &venv_log, "python3 -m venv")?;
    let mut command = Command::new(&interpreter);
    command
        .args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"])
        .arg(&requirements_file);
    foreground::run_logged(&mut command, INSTALL_LIMIT, &log, "pip install")?;
    fs::write(&installed, wanted)?;
    Ok(interpreter)
}

fn has(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    foreground::run(&mut command, QUESTION_LIMIT).is_ok_and(|status| status.success())
}
