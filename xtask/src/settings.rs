//! Settings: a flag, else the environment, else `.env`, else a default — the same order for ports
//! and addresses.

use std::fs;

use anyhow::Context as _;

use crate::cli;
use crate::env_file::{self, Variables};
use crate::layout::Layout;
use crate::ports::Port;

/// Lists, in the stack's `env` file, the other variables of that file.
pub(crate) const SOURCED: &str = "XTASK_SOURCED";

/// All settings except flags.
#[derive(Debug)]
pub(crate) struct Settings {
    file: Variables,
    defaults: Variables,
    /// Every name in `.env.example`.
    names: Vec<String>,
}

impl Settings {
    /// Reads `.env`, and `.env.example` for the credentials of containers when there is no `.env`.
    pub(crate) fn read(layout: &Layout) -> anyhow::Result<Self> {
        let path = layout.root.join(".env");
        let file = env_file::read(&path)?;
        let example = layout.root.join(".env.example");
        let defaults = if path.exists() { Variables::new() } else { env_file::read(&example)? };
        Ok(Self { file, defaults, names: env_file::names(&example)? })
    }

    /// A variable of the environment or of `.env`; an empty one counts as absent.
    ///
    /// Variables that a shell got from the stack's own `env` file do not count as the user's
    /// choice: otherwise their services would count as given, and an ended stack could not be
    /// started from that shell.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let is_sourced =
            || std::env::var(SOURCED).is_ok_and(|names| names.split(' ').any(|sourced| sourced == name));
        let from_environment = std::env::var(name).ok().filter(|_| !is_sourced());
        from_environment.or_else(|| self.file.get(name).cloned()).filter(|value| !value.is_empty())
    }

    /// Like `get`, for a secret, which may also be in a file named by `<name>_FILE`.
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<Option<String>> {
        if let Some(value) = self.get(name) {
            return Ok(Some(value));
        }
        let variable = format!("{name}_FILE");
        let Some(path) = self.get(&variable) else { return Ok(None) };
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{variable} names {path}, which cannot be read"))?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// Whether a variable or its `_FILE` is set.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.get(name).is_some() || self.get(&format!("{name}_FILE")).is_some()
    }

    /// A variable that the compose file needs: like [`Self::get`], else from `.env.example`.
    pub(crate) fn for_compose(&self, name: &str) -> anyhow::Result<String> {
        let value = self.get(name).or_else(|| self.defaults.get(name).cloned());
        value.with_context(|| format!("{name} is not set: compare your .env with .env.example"))
    }

    /// Variables that are in `.env` and not in the environment: the programs get them from here.
    pub(crate) fn file_only(&self) -> Vec<(String, String)> {
        let is_missing = |name: &&String| std::env::var_os(name).is_none();
        let names = self.file.keys().filter(is_missing);
        names
            .map(|name| (name.clone(), self.file[name].clone()))
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    /// Settings that the programs inherit from the environment: a change of one restarts the
    /// program.
    pub(crate) fn inherited(&self) -> Vec<(String, String)> {
        let from_environment = self.names.iter().filter(|name| std::env::var_os(name).is_some());
        from_environment.filter_map(|name| Some((name.clone(), self.get(name)?))).collect()
    }

    fn port(
        &self,
        flag: Option<u16>,
        purpose: &'static str,
        variable: &'static str,
        default: u16,
    ) -> anyhow::Result<Port> {
        let number = match (flag, self.get(variable)) {
            (Some(number), _) => number,
            (None, Some(text)) => text.parse().with_context(|| format!("{variable} is no port number"))?,
            (None, None) => default,
        };
        Ok(Port { number, purpose, variable })
    }

    /// The stack's ports.
    pub(crate) fn ports(&self, flags: &cli::Stack) -> anyhow::Result<StackPorts> {
        Ok(StackPorts {
            mongodb: self.port(flags.mongodb_port, "MongoDB", "MONGODB_PORT", 27117)?,
            rabbitmq: self.port(flags.rabbitmq_port, "RabbitMQ", "RABBITMQ_PORT", 5673)?,
            rabbitmq_management: self.port(
                flags.rabbitmq_management_port,
                "RabbitMQ's management",
                "RABBITMQ_MANAGEMENT_PORT",
                15673,
            )?,
            s3: self.port(flags.s3_port, "S3", "S3_PORT", 9100)?,
            api: self.port(flags.port, "the API", "PORT", 3000)?,
            api_admin: self.port(flags.admin_port, "the API's health", "ADMIN_PORT", 3001)?,
            worker_admin: self.port(
                flags.worker_admin_port,
                "the worker's health",
                "WORKER_ADMIN_PORT",
                3002,
            )?,
        })
    }
}

/// The stack's ports, all on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StackPorts {
    pub(crate) mongodb: Port,
    pub(crate) rabbitmq: Port,
    pub(crate) rabbitmq_management: Port,
    pub(crate) s3: Port,
    pub(crate) api: Port,
    pub(crate) api_admin: Port,
    pub(crate) worker_admin: Port,
}
