//! Programs for tests that start servers of their own: to kill, restart or fill them as they like.

use anyhow::Context as _;

use crate::layout::Layout;
use crate::programs::Programs;
use crate::services::packages;

/// The variables that name them, for the test kit. Got as packages also where the shared services are containers.
pub(crate) fn variables(layout: &Layout, programs: &Programs) -> anyhow::Result<Vec<(String, String)>> {
    let folder = programs.testkit.parent().context("the programs are in a folder")?;
    let mongod = packages::mongod(layout)?;
    let rabbitmq = packages::rabbitmq(layout)?;
    let named: [(&str, &std::path::Path); 5] = [
        ("TEST_PROGRAMS_DIR", folder),
        ("TEST_TESTKIT_PROGRAM", &programs.testkit),
        ("TEST_MONGOD_PROGRAM", &mongod),
        ("TEST_RABBITMQ_SERVER_PROGRAM", &rabbitmq),
        ("TEST_EPMD_PROGRAM", packages::NAME_SERVER.as_ref()),
    ];
    Ok(named.map(|(name, path)| (name.to_owned(), path.to_string_lossy().into_owned())).to_vec())
}
