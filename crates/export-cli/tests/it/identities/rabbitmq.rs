//! RabbitMQ: the API publishes, the worker consumes, neither creates or deletes anything.

use async_rs::Runtime;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeBindOptions,
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Error, ErrorKind, ExchangeKind};

use super::Matrix;
use super::deployment::Deployment;

const ACCESS_REFUSED: u16 = 403;
const NO_IDENTITY: [bool; 2] = [false; 2];
const API: [bool; 2] = [true, false];
const WORKER: [bool; 2] = [false, true];

#[derive(Clone, Copy, Debug)]
enum Action {
    Publish(&'static str),
    Get(&'static str),
    Consume(&'static str),
    Purge(&'static str),
    DeclareQueue(&'static str),
    DeclareExchange(&'static str),
    Bind(&'static str, &'static str),
    Unbind(&'static str, &'static str),
    BindExchange(&'static str, &'static str),
    DeleteQueue(&'static str),
    DeleteExchange(&'static str),
}

const ACTIONS: [(Action, [bool; 2]); 35] = [
    (Action::Publish("exports"), API),
    (Action::Publish("exports.events"), API),
    (Action::Publish(""), NO_IDENTITY),
    (Action::Publish("exports.retry"), NO_IDENTITY),
    (Action::Publish("amq.direct"), NO_IDENTITY),
    (Action::Publish("amq.topic"), NO_IDENTITY),
    (Action::Get("exports.jobs"), WORKER),
    (Action::Consume("exports.jobs"), WORKER),
    // The broker counts this as reading.
    (Action::Purge("exports.jobs"), WORKER),
    (Action::Get("exports.jobs.retry"), NO_IDENTITY),
    (Action::Consume("exports.jobs.retry"), NO_IDENTITY),
    (Action::Purge("exports.jobs.retry"), NO_IDENTITY),
    (Action::Get("other"), NO_IDENTITY),
    (Action::Consume("other"), NO_IDENTITY),
    (Action::Purge("other"), NO_IDENTITY),
    (Action::DeclareQueue("more"), NO_IDENTITY),
    (Action::DeclareQueue(""), NO_IDENTITY),
    (Action::DeclareQueue("exports.jobs"), NO_IDENTITY),
    (Action::DeclareExchange("more"), NO_IDENTITY),
    (Action::DeclareExchange("exports"), NO_IDENTITY),
    (Action::Bind("exports.jobs", "exports"), NO_IDENTITY),
    (Action::Bind("exports.jobs", "exports.events"), NO_IDENTITY),
    (Action::Bind("exports.jobs.retry", "exports.retry"), NO_IDENTITY),
    (Action::Bind("other", "exports"), NO_IDENTITY),
    (Action::Unbind("exports.jobs", "exports"), NO_IDENTITY),
    (Action::Unbind("exports.jobs.retry", "exports.retry"), NO_IDENTITY),
    (Action::BindExchange("exports", "exports.events"), NO_IDENTITY),
    (Action::BindExchange("exports.events", "exports"), NO_IDENTITY),
    (Action::DeleteQueue("exports.jobs"), NO_IDENTITY),
    (Action::DeleteQueue("exports.jobs.retry"), NO_IDENTITY),
    (Action::DeleteQueue("other"), NO_IDENTITY),
    (Action::DeleteExchange("exports"), NO_IDENTITY),
    (Action::DeleteExchange("exports.events"), NO_IDENTITY),
    (Action::DeleteExchange("exports.retry"), NO_IDENTITY),
    (Action::DeleteExchange("amq.direct"), NO_IDENTITY),
];

async fn connect(url: &str) -> Result<Connection, Error> {
    Connection::connect_with_runtime(url, ConnectionProperties::default(), Runtime::tokio_current()).await
}

async fn attempt(channel: &Channel, action: Action) -> Result<(), Error> {
    let table = FieldTable::default;
    match action {
        Action::Publish(exchange) => {
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            // With a routing key that nothing is bound to, because this test is about rights.
            let sent =
                channel.basic_publish(exchange.into(), "nowhere".into(), options, b"", properties).await?;
            sent.await.map(drop)
        }
        Action::Get(queue) => channel.basic_get(queue.into(), BasicGetOptions::default()).await.map(drop),
        Action::Consume(queue) => {
            let options = BasicConsumeOptions::default();
            channel.basic_consume(queue.into(), "".into(), options, table()).await.map(drop)
        }
        Action::Purge(queue) => {
            channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.map(drop)
        }
        Action::DeclareQueue(queue) => {
            channel.queue_declare(queue.into(), QueueDeclareOptions::default(), table()).await.map(drop)
        }
        Action::DeclareExchange(exchange) => {
            let options = ExchangeDeclareOptions::default();
            channel.exchange_declare(exchange.into(), ExchangeKind::Direct, options, table()).await
        }
        Action::Bind(queue, exchange) => {
            let options = QueueBindOptions::default();
            channel.queue_bind(queue.into(), exchange.into(), "more".into(), options, table()).await
        }
        Action::Unbind(queue, exchange) => {
            channel.queue_unbind(queue.into(), exchange.into(), "jobs".into(), table()).await
        }
        Action::BindExchange(destination, source) => {
            let options = ExchangeBindOptions::default();
            channel.exchange_bind(destination.into(), source.into(), "more".into(), options, table()).await
        }
        Action::DeleteQueue(queue) => {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.map(drop)
        }
        Action::DeleteExchange(exchange) => {
            channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await
        }
    }
}

#[tokio::test]
async fn each_identity_can_do_what_is_listed_and_nothing_else() {
    let deployment = Deployment::create().await;
    let path = deployment.rabbitmq_url("api", "");
    let (_, virtual_host) = path.rsplit_once('/').expect("a virtual host");
    deployment.manage("PUT", &format!("queues/{virtual_host}/other"), r#"{"durable":true}"#);

    let mut matrix = Matrix::default();
    for (index, identity) in ["api", "worker"].into_iter().enumerate() {
        let connection =
            connect(&deployment.rabbitmq_url(identity, &deployment.password)).await.expect("connected");
        for (action, allowed) in ACTIONS {
            // The broker closes the channel at a refusal.
            let channel = connection.create_channel().await.expect("a channel");
            let refused = match attempt(&channel, action).await {
                Ok(()) => None,
                Err(error) => match error.kind() {
                    ErrorKind::ProtocolError(error) if error.get_id() == ACCESS_REFUSED => {
                        Some(error.to_string())
                    }
                    _ => panic!("{identity}, {action:?}: {error}"),
                },
            };
            matrix.note(&format!("{action:?}"), identity, allowed[index], refused);
        }
        connection.close(200, "done".into()).await.expect("closed");
    }
    matrix.check(70);
    deployment.cleanup().await;
}

#[tokio::test]
async fn neither_gets_into_another_virtual_host_or_the_management() {
    let deployment = Deployment::create().await;
    for identity in ["api", "worker"] {
        let url = deployment.rabbitmq_url(identity, &deployment.password);
        let (base, _) = url.rsplit_once('/').expect("a virtual host");
        assert!(connect(&format!("{base}/%2f")).await.is_err(), "{identity}");
        let user = format!("{}:{}", deployment.user(identity), deployment.password);
        let (status, answer) = deployment.ask(&user, "GET", "overview", "");
        assert_eq!(status, 401, "{identity}: {answer}");
    }
    deployment.cleanup().await;
}
