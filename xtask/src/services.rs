//! Chooses the source of MongoDB, RabbitMQ and S3: given by the environment, else containers, else
//! packages of this machine.

pub(crate) mod docker;
mod mongodb;
pub(crate) mod native;
pub(crate) mod packages;
mod rabbitmq;
mod s3;

use anyhow::ensure;

use crate::cli::Source;
use crate::endpoints::Service;
use crate::layout::Instance;

/// How services without a given address are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Docker,
    Native,
}

/// The kind for the local stack: that of a running stack, else the requested one, else the one that
/// this machine has.
pub(crate) fn kind_for_stack(
    source: Source,
    instance: &Instance,
    missing: &[Service],
) -> anyhow::Result<Kind> {
    let running = if !docker::started_services(instance).is_empty() {
        Some(Kind::Docker)
    } else if missing.iter().any(|service| crate::background::running(instance, service.part()).is_some()) {
        Some(Kind::Native)
    } else {
        None
    };
    match (running, source) {
        (Some(kind), Source::Auto) => Ok(kind),
        (Some(running), _) => {
            let asked = kind(source, docker::has_engine)?;
            ensure!(
                running == asked,
                "the stack runs its services otherwise: end it with `cargo xtask down` first"
            );
            Ok(asked)
        }
        (None, _) => kind(source, || docker::has_engine() && docker::has_compose()),
    }
}

/// The kind to use for a test run, which needs an engine but not Compose.
pub(crate) fn kind_for_tests(source: Source) -> anyhow::Result<Kind> {
    kind(source, docker::has_engine)
}

fn kind(source: Source, has_docker: impl FnOnce() -> bool) -> anyhow::Result<Kind> {
    match source {
        Source::Native => Ok(Kind::Native),
        Source::Auto => Ok(if has_docker() { Kind::Docker } else { Kind::Native }),
        Source::Docker => {
            ensure!(
                has_docker(),
                "no Docker engine answers, or Compose is not installed (try `--services native`)"
            );
            Ok(Kind::Docker)
        }
    }
}
