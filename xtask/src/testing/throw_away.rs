//! Services for one run of tests or of a benchmark, removed with all their data afterwards.

use std::fs;
use std::time::Duration;

use crate::endpoints::{self, Endpoints, Service};
use crate::layout::{Instance, Layout};
use crate::programs::{self, Programs, Purpose};
use crate::services::{self, native};
use crate::settings::Settings;
use crate::testing::containers;
use crate::{cli, console, ports};

/// Grace period for services whose data is deleted next: a server need not wait for clients that a
/// test left connected.
const GRACE: Duration = Duration::from_secs(3);

/// Starts the services whose addresses are not given, builds the programs, and calls `with`.
/// `s3_in_background` runs the S3 server at the lowest priority, unless it is in a container.
pub(crate) fn with_services<T>(
    layout: &Layout,
    settings: &Settings,
    source: cli::Source,
    purpose: Purpose,
    s3_in_background: bool,
    with: impl FnOnce(&Endpoints, &Programs) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let missing: Vec<Service> = Service::ALL
        .into_iter()
        .filter(|service| !endpoints::is_given_to_tests(*service, settings))
        .collect();
    if missing.is_empty() {
        return with(&Endpoints::default(), &programs::build(layout, purpose)?);
    }
    match services::kind_for_tests(source)? {
        services::Kind::Docker => {
            let programs = programs::build(layout, purpose)?;
            let containers = containers::Containers::start(&programs.testkit, &layout.test_stack())?;
            with(&containers.endpoints.only(&missing), &programs)
        }
        services::Kind::Native => {
            let instance = layout.test_stack();
            let _lock = instance.lock()?;
            let throw_away = ThrowAway(&instance);
            // A killed run leaves processes and data behind; their records identify them.
            throw_away.clear()?;
            let programs = programs::build(layout, purpose)?;
            let [mongodb, rabbitmq, rabbitmq_management, s3] = ports::free()?;
            let ports = native::Ports { mongodb, rabbitmq, rabbitmq_management, s3 };
            // Tests of keys with few rights have their own S3 server, because the rights are
            // limited to one bucket.
            let terms = native::S3Terms { keys: None, in_background: s3_in_background };
            let testkit = &programs.testkit;
            let endpoints =
                native::start(layout, &instance, ports, &missing, testkit, terms, &mut Vec::new())?;
            with(&endpoints, &programs)
        }
    }
}

/// An instance that is stopped and deleted when this is dropped.
struct ThrowAway<'instance>(&'instance Instance);

impl ThrowAway<'_> {
    fn clear(&self) -> anyhow::Result<()> {
        native::stop(self.0, GRACE)?;
        let data = self.0.dir.join("data");
        if data.exists() {
            fs::remove_dir_all(data)?;
        }
        Ok(())
    }
}

impl Drop for ThrowAway<'_> {
    fn drop(&mut self) {
        console::step("stopping the services of this run");
        if let Err(error) = self.clear() {
            eprintln!("the services of this run could not be removed: {error:#}");
        }
    }
}
