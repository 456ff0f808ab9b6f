//! Services from packages of this machine, each a process of its own below the instance's folder.

use std::path::Path;
use std::time::Duration;

use crate::endpoints::{Endpoints, S3, Service};
use crate::identities::{LOCAL_PASSWORD, S3Key};
use crate::layout::{Instance, Layout};
use crate::ports::Port;
use crate::services::{mongodb, packages, rabbitmq, s3};
use crate::{background, console};

/// Every process of this kind, in the order they are ended.
pub(crate) const PARTS: [&str; 4] = ["s3", "rabbitmq", rabbitmq::NAME_SERVER, "mongodb"];

/// Ports of the three services, one of which has two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) mongodb: u16,
    pub(crate) rabbitmq: u16,
    pub(crate) rabbitmq_management: u16,
    pub(crate) s3: u16,
}

/// Fails if another program listens on the port of a service that is not running yet.
pub(crate) fn check_ports(instance: &Instance, ports: &[(&str, Port)]) -> anyhow::Result<()> {
    for (part, port) in ports {
        let listens_there = |running: background::Running| running.port == port.number;
        if !background::running(instance, part).is_some_and(listens_there) {
            port.check_free()?;
        }
    }
    Ok(())
}

/// How the S3 server is started.
#[derive(Debug, Default)]
pub(crate) struct S3Terms {
    /// Keys of the API and the worker.
    pub(crate) keys: Option<[S3Key; 2]>,
    /// Whether it runs at the lowest priority.
    pub(crate) in_background: bool,
}

/// Downloads the services, starts them and waits for them. `started` gets every part that was not
/// running.
pub(crate) fn start(
    layout: &Layout,
    instance: &Instance,
    ports: Ports,
    services: &[Service],
    testkit: &Path,
    s3_terms: S3Terms,
    started: &mut Vec<String>,
) -> anyhow::Result<Endpoints> {
    let has = |service| services.contains(&service);
    // Download everything before starting anything.
    let mongod = has(Service::Mongodb).then(|| packages::mongod(layout)).transpose()?;
    let broker = has(Service::Rabbitmq).then(|| packages::rabbitmq(layout)).transpose()?;
    let stopped = services.iter().filter(|service| background::running(instance, service.part()).is_none());
    let titles: Vec<&str> = stopped.map(|service| service.title()).collect();
    if !titles.is_empty() {
        console::step(format!(
            "starting {} (logs: {})",
            titles.join(", "),
            instance.dir.join("logs").display()
        ));
    }
    let mut endpoints = Endpoints::default();
    let mut ensure = |program: &background::Program| -> anyhow::Result<()> {
        if background::ensure(instance, program)? == background::Ensured::Started {
            started.push(program.part.to_owned());
        }
        Ok(())
    };
    // Start all before waiting for any: together they take as long as the slowest.
    if let Some(mongod) = &mongod {
        ensure(&mongodb::program(instance, mongod, ports.mongodb)?)?;
    }
    if let Some(broker) = &broker {
        let node = rabbitmq::Node::new(instance, broker, ports.rabbitmq, ports.rabbitmq_management)?;
        ensure(&node.name_server())?;
        ensure(&node.broker()?)?;
    }
    if has(Service::S3) {
        let keys = s3_terms.keys.as_ref().map(<[S3Key; 2]>::as_slice).unwrap_or_default();
        ensure(&s3::program(instance, testkit, ports.s3, keys, s3_terms.in_background)?)?;
        s3::wait_until_ready(instance, ports.s3)?;
        endpoints.s3 = Some(S3 {
            endpoint: format!("http://127.0.0.1:{}", ports.s3),
            access_key_id: s3::ACCESS_KEY_ID.to_owned(),
            secret_access_key: s3::SECRET_ACCESS_KEY.to_owned(),
        });
        if let Some(keys) = s3_terms.keys {
            endpoints.identities.set_s3_keys(keys);
        }
    }
    if mongod.is_some() {
        endpoints.mongodb_uri = Some(mongodb::wait_until_primary(instance, testkit, ports.mongodb)?);
        endpoints.identities.add_mongodb([LOCAL_PASSWORD; 3], &mongodb::rest_of_uri(ports.mongodb));
    }
    if broker.is_some() {
        rabbitmq::wait_until_ready(instance, ports.rabbitmq, ports.rabbitmq_management)?;
        let management = format!("http://127.0.0.1:{}", ports.rabbitmq_management);
        endpoints.identities.add_rabbitmq([LOCAL_PASSWORD; 2], &format!("127.0.0.1:{}", ports.rabbitmq));
        endpoints.identities.set_management(&management);
        endpoints.rabbitmq_management_url = Some(management);
        // RabbitMQ's default user, which may connect only from this machine.
        endpoints.rabbitmq_url = Some(format!("amqp://guest:guest@127.0.0.1:{}/%2f", ports.rabbitmq));
    }
    Ok(endpoints)
}

/// Ends all processes of an instance's services: SIGTERM, and SIGKILL after `grace`.
pub(crate) fn stop(instance: &Instance, grace: Duration) -> anyhow::Result<()> {
    for part in PARTS {
        background::stop(instance, part, grace)?;
    }
    Ok(())
}
