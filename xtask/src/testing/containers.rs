//! Services as containers that live as long as a pipe to the test kit is open: if this program is
//! killed, they end too.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::endpoints::{Endpoints, S3};
use crate::layout::Instance;
use crate::{console, foreground, wait};

/// Images are pulled first.
const START_LIMIT: Duration = Duration::from_mins(30);
/// For ending and removing the containers.
const END_LIMIT: Duration = Duration::from_mins(1);

/// Running containers.
#[derive(Debug)]
pub(crate) struct Containers {
    keeper: Child,
    /// Open as long as the containers are needed.
    pipe: Option<ChildStdin>,
    pub(crate) endpoints: Endpoints,
}

impl Containers {
    /// Starts MongoDB, RabbitMQ and S3.
    pub(crate) fn start(testkit: &Path, instance: &Instance) -> anyhow::Result<Self> {
        console::step("starting MongoDB, RabbitMQ and S3 as containers (images are pulled the first time)");
        let log = instance.log("containers");
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut keeper = Command::new(testkit)
            .arg("containers")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            // Ctrl-C is for this program, which then closes the pipe.
            .process_group(0)
            .spawn()
            .context("the test kit could not be started")?;
        let pipe = keeper.stdin.take();
        let stdout = keeper.stdout.take().context("standard output is piped")?;
        let mut containers = Self { keeper, pipe, endpoints: Endpoints::default() };
        let (sender, line) = mpsc::channel();
        thread::spawn(move || {
            if let Some(Ok(line)) = BufReader::new(stdout).lines().next() {
                let _ = sender.send(line);
            }
        });
        let line = wait::until(
            START_LIMIT,
            || "the containers did not start".to_owned(),
            || match line.try_recv() {
                Ok(line) => Ok(Some(line)),
                Err(TryRecvError::Empty) => Ok(None),
                Err(TryRecvError::Disconnected) => {
                    bail!("the containers did not start; {}", console::tail(&log))
                }
            },
        )?;
        containers.endpoints = parse(&line).with_context(|| format!("the test kit said: {line}"))?;
        Ok(containers)
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        drop(self.pipe.take());
        foreground::end(&mut self.keeper, END_LIMIT);
    }
}

fn parse(line: &str) -> anyhow::Result<Endpoints> {
    let variables: Value = serde_json::from_str(line)?;
    let get = |name: &str| {
        variables[name].as_str().map(str::to_owned).with_context(|| format!("{name} is missing"))
    };
    Ok(Endpoints {
        mongodb_uri: Some(get("TEST_MONGODB_URI")?),
        rabbitmq_url: Some(get("TEST_RABBITMQ_URL")?),
        rabbitmq_management_url: Some(get("TEST_RABBITMQ_MANAGEMENT_URL")?),
        s3: Some(S3 {
            endpoint: get("TEST_S3_ENDPOINT_URL")?,
            access_key_id: get("TEST_S3_ACCESS_KEY_ID")?,
            secret_access_key: get("TEST_S3_SECRET_ACCESS_KEY")?,
        }),
        ..Endpoints::default()
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_variable_is_needed() {
        let line = r#"{"TEST_MONGODB_URI":"m","TEST_RABBITMQ_URL":"r","TEST_RABBITMQ_MANAGEMENT_URL":"h","TEST_S3_ENDPOINT_URL":"s",
            "TEST_S3_ACCESS_KEY_ID":"a","TEST_S3_SECRET_ACCESS_KEY":"b"}"#;
        assert_eq!(parse(line).unwrap().rabbitmq_url.as_deref(), Some("r"));
        let error = parse(r#"{"TEST_MONGODB_URI":"m"}"#).unwrap_err();
        assert_eq!(error.to_string(), "TEST_RABBITMQ_URL is missing");
    }
}
