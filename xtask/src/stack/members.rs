//! The stack's own programs: one API and one worker.

use std::path::Path;

use crate::background::Program;
use crate::identities::{Identities, Pairs};
use crate::layout::Instance;
use crate::ports::Port;
use crate::services::native;
use crate::settings::StackPorts;
use crate::stack::Stack;

/// How to start the API and the worker.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) api: Program,
    pub(crate) worker: Program,
}

impl Members {
    /// Names of their records and logs, in the order of their shutdown: the worker first, so that
    /// it can still report.
    pub(crate) const PARTS: [&str; 2] = [Self::WORKER, Self::API];
    const API: &str = "exports-api";
    const WORKER: &str = "exports-worker";

    /// The members of that stack.
    pub(crate) fn of(stack: &Stack) -> Self {
        let ports = &stack.ports;
        let admin = |port: Port| ("ADMIN_ADDR", format!("127.0.0.1:{}", port.number));
        let api_settings = [
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", ports.api.number.to_string()),
            admin(ports.api_admin),
            ("PUBLIC_BASE_URL", stack.api_url()),
            // Must be set explicitly; the listener is reachable from this machine only.
            ("AUTH", "none".to_owned()),
        ];
        let hidden = [stack.hidden.clone(), Identities::hidden_from_services()].concat();
        let member = |part, executable: &Path, port: Port, users: &Pairs, own: &[(&str, String)]| {
            let mut environment = [stack.inherited.as_slice(), &stack.environment, users].concat();
            environment.retain(|(name, _)| !hidden.contains(name));
            environment.extend(own.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            let executable = executable.to_path_buf();
            Program {
                part,
                executable,
                arguments: Vec::new(),
                environment,
                hidden: hidden.clone(),
                port: port.number,
            }
        };
        Self {
            api: member(Self::API, &stack.programs.api, ports.api, &stack.own.api, &api_settings),
            worker: member(
                Self::WORKER,
                &stack.programs.worker,
                ports.worker_admin,
                &stack.own.worker,
                // As in the image.
                &[
                    admin(ports.worker_admin),
                    ("MALLOC_ARENA_MAX", "1".to_owned()),
                    ("MALLOC_MMAP_THRESHOLD_", "1048576".to_owned()),
                ],
            ),
        }
    }

    /// Fails if another program listens on one of their ports.
    pub(crate) fn check_ports(instance: &Instance, ports: &StackPorts) -> anyhow::Result<()> {
        native::check_ports(instance, &[(Self::API, ports.api), (Self::WORKER, ports.worker_admin)])?;
        // The record holds the first port only; a running API has the other one too.
        let is_running = crate::background::running(instance, Self::API).is_some();
        if is_running { Ok(()) } else { ports.api_admin.check_free() }
    }
}
