//! MongoDB as a one-node replica set, which transactions and majority write concern need, with
//! users.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::background::Program;
use crate::identities::LOCAL_PASSWORD;
use crate::layout::Instance;
use crate::{background, foreground, ports, wait};

const PART: &str = "mongodb";
const ADMINISTRATOR: &str = "exports-admin";
/// Length of the key with which the members of a replica set authenticate; this one has one member.
const KEY_BYTES: usize = 96;
/// From start to an open port; the first start creates the files.
const START_LIMIT: Duration = Duration::from_mins(1);
/// From an open port to a writable primary; more than the command's own limit, so that its message
/// is seen.
const PRIMARY_LIMIT: Duration = Duration::from_secs(90);

/// How to start the server.
pub(crate) fn program(instance: &Instance, mongod: &Path, port: u16) -> anyhow::Result<Program> {
    let data = instance.data(PART);
    fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
    check_member_port(&instance.data("mongodb-port"), port)?;
    let key = instance.data("mongodb-key");
    make_key(&key).with_context(|| key.display().to_string())?;
    let port_text = port.to_string();
    let mut arguments = vec!["--dbpath".into(), data.into_os_string()];
    let options = [
        ["--port", &port_text],
        ["--bind_ip", "127.0.0.1"],
        ["--replSet", "rs0"],
        // The default would be half of the machine's memory.
        ["--wiredTigerCacheSizeGB", "0.5"],
        // At SIGTERM it would wait 15 s for other members to take over; there are none.
        ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"],
        ["--setParameter", "diagnosticDataCollectionEnabled=false"],
    ];
    arguments.extend(options.iter().flatten().map(Into::into));
    // Without a key file, a member of a replica set requires no authentication.
    arguments.extend(["--keyFile".into(), key.into_os_string()]);
    // No socket file outside the instance's folder.
    arguments.push("--nounixsocket".into());
    let executable = mongod.to_path_buf();
    Ok(Program { part: PART, executable, arguments, environment: Vec::new(), hidden: Vec::new(), port })
}

/// Stores the port in a file beside the data, and rejects another port later: it is part of the
/// member's address in the replica set, which would wait for that member for ever.
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

/// Creates a key that only its owner can read, unless one exists.
fn make_key(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut random = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let digits = random.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let text: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    Ok(fs::rename(new, path)?)
}

/// The common end of all users' connection strings, from the address on.
pub(crate) fn rest_of_uri(port: u16) -> String {
    format!("127.0.0.1:{port}/?replicaSet=rs0&authSource=admin")
}

/// Makes the server a replica set with an administrator, once, and waits until it is writable.
/// Returns the administrator's URI.
pub(crate) fn wait_until_primary(instance: &Instance, testkit: &Path, port: u16) -> anyhow::Result<String> {
    wait::until(
        START_LIMIT,
        || "MongoDB did not open its port".to_owned(),
        || {
            background::check_alive(instance, PART)?;
            Ok(ports::connect(port))
        },
    )?;
    let uri = format!("mongodb://{ADMINISTRATOR}:{LOCAL_PASSWORD}@{}", rest_of_uri(port));
    let mut command = Command::new(testkit);
    command.arg("replica-set").env("TEST_MONGODB_URI", &uri);
    foreground::run_logged(
        &mut command,
        PRIMARY_LIMIT,
        &instance.log("replica-set"),
        "making MongoDB a replica set",
    )?;
    Ok(uri)
}
