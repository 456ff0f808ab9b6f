//! Settings that are missing, wrong or unusual.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::project::{FROM_FILES, Project, RUN_LIMIT, UP_LIMIT, tail};
use crate::console;
use crate::uri::percent_encoded;

/// The longest that `up` may take to say that a password is wrong, with the servers running: 20
/// seconds, and room for a busy machine.
const TOLD_LIMIT: Duration = Duration::from_mins(1);
/// Passwords with characters that have a meaning in addresses.
const SPECIAL: &str = "p@ss/w:rd";

pub(super) fn e12_a_missing_variable_is_named(project: &Project) -> anyhow::Result<()> {
    for name in ["MONGODB_ROOT_PASSWORD", "RABBITMQ_PASSWORD", "S3_SECRET_ACCESS_KEY"] {
        project.set(&[(name, None)])?;
        let ended = project.ends(&["config"], RUN_LIMIT)?;
        ensure!(!ended.is_success, "{name} may be missing");
        let hint = format!("add {name} to .env");
        ensure!(ended.output.contains(&hint), "no `{hint}`: {}", tail(&ended.output));
    }
    project.set(&[])
}

pub(super) fn e5_everything_comes_up(project: &Project) -> anyhow::Result<()> {
    let output = project.succeeds(&["up", "-d"], UP_LIMIT)?;
    for trouble in ["pull access denied", "variable is not set", "obsolete"] {
        ensure!(!output.contains(trouble), "`{trouble}`: {}", tail(&output));
    }
    project.up()
}

pub(super) fn e3_a_changed_password_of_rabbitmq_is_told(project: &Project) -> anyhow::Result<()> {
    a_changed_password_is_told(project, "RABBITMQ_PASSWORD", "RABBITMQ_URL")
}

pub(super) fn e4_a_changed_password_of_mongodb_is_told(project: &Project) -> anyhow::Result<()> {
    a_changed_password_is_told(project, "MONGODB_ROOT_PASSWORD", "MONGODB_URI")
}

/// `up` ends with an error, and the log of `provision` names the setting and the fix.
fn a_changed_password_is_told(project: &Project, variable: &str, setting: &str) -> anyhow::Result<()> {
    project.set(&[(variable, Some("changed-afterwards"))])?;
    // The restart of the server takes its time, too.
    project.succeeds(&["up", "-d", "mongodb", "rabbitmq", "s3"], UP_LIMIT)?;
    ["mongodb", "rabbitmq", "s3"].into_iter().try_for_each(|name| project.is_healthy(name))?;
    let asked_at = Instant::now();
    let ended = project.ends(&["up", "-d"], UP_LIMIT)?;
    let took = asked_at.elapsed();
    let log = project.ends(&["logs", "--no-color", "provision"], RUN_LIMIT)?.output;
    project.set(&[])?;
    project.up().context("with the first password again")?;
    ensure!(!ended.is_success, "`up` succeeded");
    console::line(format_args!("         told after {:.1} s", took.as_secs_f64()));
    ensure!(took < TOLD_LIMIT, "`up` took {took:?}");
    for part in [setting, "password", "keeps the password of its first start"] {
        ensure!(log.contains(part), "the log of provision has no `{part}`: {}", tail(&log));
    }
    ensure!(!log.contains("changed-afterwards"), "the log shows the password");
    Ok(())
}

/// They work, or are refused at once by name.
pub(super) fn e3_passwords_with_special_characters(project: &Project) -> anyhow::Result<()> {
    project.remove()?;
    for (name, setting) in
        [("MONGODB_API_PASSWORD", "API_MONGODB_URI"), ("RABBITMQ_PASSWORD", "RABBITMQ_URL")]
    {
        project.set(&[(name, Some(SPECIAL))])?;
        let asked_at = Instant::now();
        let ended = project.ends(&["up", "-d"], UP_LIMIT)?;
        let took = asked_at.elapsed();
        let log = project.ends(&["logs", "--no-color", "provision"], RUN_LIMIT)?.output;
        project.remove()?;
        ensure!(!ended.is_success, "{name}: expected a refusal");
        ensure!(log.contains(setting), "{name}: {}", tail(&log));
        ensure!(!log.contains(SPECIAL), "the log shows the password");
        ensure!(took < TOLD_LIMIT, "{name}: `up` took {took:?}");
    }
    Ok(())
}

/// With `docker-compose.files.yml`, whatever their characters.
pub(super) fn d4_passwords_from_files_are_in_no_environment(project: &Project) -> anyhow::Result<()> {
    project.remove()?;
    let folder = project.folder().join("administrators");
    fs::create_dir_all(&folder)?;
    let encoded = percent_encoded(SPECIAL);
    let files = [
        ("mongodb-root-password", SPECIAL.to_owned()),
        ("rabbitmq-password", SPECIAL.to_owned()),
        (
            "mongodb-uri",
            format!("mongodb://exports:{encoded}@mongodb:27017/?replicaSet=rs0&authSource=admin"),
        ),
        ("rabbitmq-url", format!("amqp://exports:{encoded}@rabbitmq:5672/%2f")),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    let folder = folder.display().to_string();
    let unused = Some("in-a-file");
    project.set(&[
        ("ADMINISTRATORS_DIR", Some(folder.as_str())),
        ("MONGODB_ROOT_PASSWORD", unused),
        ("RABBITMQ_PASSWORD", unused),
    ])?;
    project.succeeds(&[&FROM_FILES[..], &["up", "-d"]].concat(), UP_LIMIT)?;
    ["api", "worker"].into_iter().try_for_each(|name| project.is_healthy(name))?;
    for service in ["mongodb", "rabbitmq", "s3", "provision", "api", "worker"] {
        for container in project.inspect(service)? {
            let environment = container["Config"]["Env"].to_string();
            let is_shown = environment.contains(SPECIAL) || environment.contains(&encoded);
            ensure!(!is_shown, "{service} has a password in its environment");
        }
    }
    project.remove()
}
