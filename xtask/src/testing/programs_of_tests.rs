//! Programs that tests start by themselves: servers to kill, restart or fill as they like, and Python with the packages of users.

use anyhow::Context as _;

use crate::layout::Layout;
use crate::programs::Programs;
use crate::python;
use crate::services::packages;

/// Other people's programs that read what users download, and one that asks the API odd things.
const REQUIREMENTS: &str = "xtask/testing/requirements.txt";

/// The variables that name them, for the test kit. Got as packages also where the shared services are containers.
pub(crate) fn variables(layout: &Layout, programs: &Programs) -> anyhow::Result<Vec<(String, String)>> {
    let folder = programs.testkit.parent().context("the programs are in a folder")?;
    let mongod = packages::mongod(layout)?;
    let rabbitmq = packages::rabbitmq(layout)?;
    let folder_of_python = layout.target.join("packages").join("test-python");
    let python = python::environment(layout, &folder_of_python, REQUIREMENTS, "the tests")?;
    let named: [(&str, &std::path::Path); 6] = [
        ("TEST_PROGRAMS_DIR", folder),
        ("TEST_TESTKIT_PROGRAM", &programs.testkit),
        ("TEST_MONGOD_PROGRAM", &mongod),
        ("TEST_PYTHON_PROGRAM", &python),
        ("TEST_RABBITMQ_SERVER_PROGRAM", &rabbitmq),
        ("TEST_EPMD_PROGRAM", packages::NAME_SERVER.as_ref()),
    ];
    Ok(named.map(|(name, path)| (name.to_owned(), path.to_string_lossy().into_owned())).to_vec())
}
