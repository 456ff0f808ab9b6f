//! `cargo xtask test`: every test of the workspace, on services that exist for this run only.

mod containers;
pub(crate) mod programs_of_tests;
mod runner;

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use crate::endpoints::{self, Endpoints, Service};
use crate::layout::{Instance, Layout};
use crate::programs::{Programs, Purpose};
use crate::services::{self, Kind, native};
use crate::settings::Settings;
use crate::{cli, console, ports, programs};

/// For services whose data is deleted next: a server may wait for clients that a test left behind, and need not.
const THROW_AWAY_GRACE: Duration = Duration::from_secs(3);

/// Runs the tests and passes on the runner's verdict. The services end whatever happens.
pub(crate) fn run(arguments: &cli::Test) -> anyhow::Result<ExitCode> {
    let layout = Layout::find()?;
    let settings = Settings::read(&layout)?;
    let missing: Vec<Service> = Service::ALL
        .into_iter()
        .filter(|service| !endpoints::is_given_to_tests(*service, &settings))
        .collect();
    let tests = |endpoints: &Endpoints, programs: &Programs| {
        console::step("services of this test run");
        endpoints.print(&settings)?;
        let mut variables = endpoints.for_tests(&settings)?;
        variables.extend(programs_of_tests::variables(&layout, programs)?);
        runner::run(&layout, &variables, &arguments.runner_arguments)
    };
    if missing.is_empty() {
        return tests(&Endpoints::default(), &programs::build(&layout, Purpose::Stack)?);
    }
    match services::kind_for_tests(arguments.services)? {
        Kind::Docker => {
            let programs = programs::build(&layout, Purpose::Stack)?;
            let containers = containers::Containers::start(&programs.testkit, &layout.test_stack())?;
            tests(&containers.endpoints.only(&missing), &programs)
        }
        Kind::Native => {
            let instance = layout.test_stack();
            let _lock = instance.lock()?;
            let throw_away = ThrowAway(&instance);
            // A run that was killed leaves its processes and data; their record tells.
            throw_away.clear()?;
            let programs = programs::build(&layout, Purpose::Stack)?;
            let [mongodb, rabbitmq, rabbitmq_management, s3] = ports::free()?;
            let ports = native::Ports { mongodb, rabbitmq, rabbitmq_management, s3 };
            let endpoints =
                // Tests of keys with few rights have an S3 server of their own, as the rights are on one bucket.
                native::start(&layout, &instance, ports, &missing, &programs.testkit, None, &mut Vec::new())?;
            tests(&endpoints, &programs)
        }
    }
}

/// An instance that ends, and whose data is deleted, when this is dropped.
struct ThrowAway<'instance>(&'instance Instance);

impl ThrowAway<'_> {
    fn clear(&self) -> anyhow::Result<()> {
        native::stop(self.0, THROW_AWAY_GRACE)?;
        let data = self.0.dir.join("data");
        if data.exists() {
            fs::remove_dir_all(data)?;
        }
        Ok(())
    }
}

impl Drop for ThrowAway<'_> {
    fn drop(&mut self) {
        console::step("ending the services of this test run");
        if let Err(error) = self.clear() {
            eprintln!("the services of the test run were not put away: {error:#}");
        }
    }
}
