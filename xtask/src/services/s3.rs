//! The S3 server: the test kit's own, files in a folder.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::background::Program;
use crate::identities::{S3Key, s3_identities};
use crate::layout::Instance;
use crate::{background, ports, wait};

const PART: &str = "s3";
/// Not secret, because the server listens on this machine only.
pub(crate) const ACCESS_KEY_ID: &str = "exports-local";
pub(crate) const SECRET_ACCESS_KEY: &str = "exports-local-secret";
const START_LIMIT: Duration = Duration::from_secs(30);

/// How to start the server. The administrator's key always works, `keys` as well. With
/// `in_background` it runs only when no other program needs the processor.
pub(crate) fn program(
    instance: &Instance,
    testkit: &Path,
    port: u16,
    keys: &[S3Key],
    in_background: bool,
) -> anyhow::Result<Program> {
    let root = instance.data(PART);
    fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
    let mut arguments: Vec<OsString> = vec![
        "s3".into(),
        "--listen".into(),
        format!("127.0.0.1:{port}").into(),
        "--root".into(),
        root.into_os_string(),
        "--access-key".into(),
        ACCESS_KEY_ID.into(),
        "--secret-key".into(),
        SECRET_ACCESS_KEY.into(),
    ];
    if in_background {
        arguments.push("--in-background".into());
    }
    let executable = testkit.to_path_buf();
    let environment = vec![("TEST_S3_IDENTITIES".to_owned(), s3_identities(keys))];
    Ok(Program { part: PART, executable, arguments, environment, hidden: Vec::new(), port })
}

/// Waits until it accepts connections.
pub(crate) fn wait_until_ready(instance: &Instance, port: u16) -> anyhow::Result<()> {
    wait::until(
        START_LIMIT,
        || "the S3 server did not open its port".to_owned(),
        || {
            background::check_alive(instance, PART)?;
            Ok(ports::connect(port).map(drop))
        },
    )
}
