//! MongoDB as a one-node replica set, which transactions and majority write concern need.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::background::Program;
use crate::layout::Instance;
use crate::{background, foreground, ports, wait};

const PART: &str = "mongodb";
/// From start to an open port; the first start makes the files.
const START_LIMIT: Duration = Duration::from_mins(1);
/// From an open port to a writable primary; more than the command's own limit, so that its message is seen.
const PRIMARY_LIMIT: Duration = Duration::from_secs(90);

/// How to start the server.
pub(crate) fn program(instance: &Instance, mongod: &Path, port: u16) -> anyhow::Result<Program> {
    let data = instance.data(PART);
    fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
    check_member_port(&instance.data("mongodb-port"), port)?;
    let port_text = port.to_string();
    let mut arguments = vec!["--dbpath".into(), data.into_os_string()];
    let options = [
        ["--port", &port_text],
        ["--bind_ip", "127.0.0.1"],
        ["--replSet", "rs0"],
        // Its own choice would be half of the machine's memory.
        ["--wiredTigerCacheSizeGB", "0.5"],
        // At SIGTERM it would wait 15 s for other members to take over; there are none.
        ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"],
        ["--setParameter", "diagnosticDataCollectionEnabled=false"],
    ];
    arguments.extend(options.iter().flatten().map(Into::into));
    // The socket file would lie outside the instance's folder.
    arguments.push("--nounixsocket".into());
    let executable = mongod.to_path_buf();
    Ok(Program { part: PART, executable, arguments, environment: Vec::new(), hidden: Vec::new(), port })
}

/// Remembers the port in a file beside the data, and refuses another one later: the replica set has written it down as its member's
/// address, and would wait for that member for ever.
fn check_member_port(record: &Path, port: u16) -> anyhow::Result<()> {
    if let Ok(known) = fs::read_to_string(record)
        && known != port.to_string()
    {
        bail!(
            "the stack's MongoDB data were made on port {known}: \
             set MONGODB_PORT={known} to go on with them, or delete them with `cargo xtask down --purge`"
        );
    }
    fs::write(record, port.to_string()).with_context(|| record.display().to_string())
}

/// Makes the server a replica set, once, and waits until it takes writes. Returns its URI.
pub(crate) fn wait_until_primary(instance: &Instance, testkit: &Path, port: u16) -> anyhow::Result<String> {
    wait::until(
        START_LIMIT,
        || "MongoDB did not open its port".to_owned(),
        || {
            background::check_alive(instance, PART)?;
            Ok(ports::connect(port))
        },
    )?;
    // A URI with the set's name would be refused by a server that is not in the set yet.
    let mut command = Command::new(testkit);
    command.args(["replica-set", "--uri", &format!("mongodb://127.0.0.1:{port}/")]);
    foreground::run_logged(
        &mut command,
        PRIMARY_LIMIT,
        &instance.log("replica-set"),
        "making MongoDB a replica set",
    )?;
    Ok(format!("mongodb://127.0.0.1:{port}/?replicaSet=rs0"))
}
