//! Programs that tests start themselves: servers that they kill, restart or fill, and Python with
//! packages that users have.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::generators::{self, Generators};
use crate::layout::Layout;
use crate::programs::Programs;
use crate::services::packages;
use crate::{console, python};

/// Packages that read results, and schemathesis, which sends generated requests to the API.
const REQUIREMENTS: &str = "xtask/testing/requirements.txt";

/// Programs that are downloaded.
struct Fetched {
    mongod: PathBuf,
    rabbitmq: PathBuf,
    python: PathBuf,
    generators: Generators,
}

/// Downloads and installs missing programs. Packages are used even if the shared services are
/// containers.
fn fetched(layout: &Layout) -> anyhow::Result<Fetched> {
    let folder_of_python = layout.packages().join("test-python");
    Ok(Fetched {
        mongod: packages::mongod(layout)?,
        rabbitmq: packages::rabbitmq(layout)?,
        python: python::environment(layout, &folder_of_python, REQUIREMENTS, "the tests")?,
        generators: generators::fetched(layout)?,
    })
}

/// `cargo xtask fetch`: downloads now what the tests would download later.
pub(crate) fn fetch() -> anyhow::Result<()> {
    fetched(&Layout::find()?)?;
    console::step("the programs of the tests are installed");
    Ok(())
}

/// The variables that name these programs to the test kit.
pub(crate) fn variables(layout: &Layout, programs: &Programs) -> anyhow::Result<Vec<(String, String)>> {
    let folder = programs.testkit.parent().context("the programs are in a folder")?;
    let Fetched { mongod, rabbitmq, python, generators } = fetched(layout)?;
    let named: [(&str, &std::path::Path); 9] = [
        ("TEST_PROGRAMS_DIR", folder),
        ("TEST_TESTKIT_PROGRAM", &programs.testkit),
        ("TEST_MONGOD_PROGRAM", &mongod),
        ("TEST_PYTHON_PROGRAM", &python),
        ("TEST_RABBITMQ_SERVER_PROGRAM", &rabbitmq),
        ("TEST_EPMD_PROGRAM", packages::NAME_SERVER.as_ref()),
        ("TEST_GENERATORS_DIR", &generators.environment),
        ("TEST_NODE_PROGRAM", &generators.node),
        ("TEST_TYPESCRIPT_PROGRAM", &generators.typescript),
    ];
    Ok(named.map(|(name, path)| (name.to_owned(), path.to_string_lossy().into_owned())).to_vec())
}
