//! Relays that die, many concurrent relays, and a broker that is temporarily unavailable.

use std::collections::BTreeMap;
use std::time::Duration;

use bson::{Document, doc};
use export_amqp::{Publisher, Topology};
use export_api::tasks::relay::{Relay, WebhookRelay};
use export_core::access::AllowedVehicles;
use export_core::job::{NewJob, RetryPolicy};
use export_core::request::ExportRequest;
use export_core::trace::TraceParent;
use export_core::{JobId, Tenant};
use export_store::{Channel, JobStore, connect};
use export_testkit::isolation::TestSpace;
use export_testkit::proxy::Proxy;
use export_webhooks::Webhooks;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::listener::Listener;
use crate::receiver::{Receiver, Reply, settings};

/// Jobs and exchanges of a test that has no API, so that its relays are the only ones.
struct Office {
    space: TestSpace,
    jobs: JobStore,
    topology: Topology,
}

impl Office {
    async fn open() -> Self {
        let space = TestSpace::create().await;
        let client = connect(&space.services.mongodb_uri.clone().into(), "relays").await.expect("a client");
        let jobs = JobStore::new(&client, &space.jobs_database);
        jobs.provision().await.expect("indexes");
        let topology = Topology::named(&space.topology);
        topology.provision(&space.services.rabbitmq_url.clone().into()).await.expect("exchanges");
        Self { space, jobs, topology }
    }

    /// A job that ends at once; returns its event's id.
    async fn ended_job(&self, tenant: &str, webhook_url: &str) -> String {
        let body = json!({ "startDate": "2018-11-30", "endDate": "2018-12-01", "webhookUrl": webhook_url });
        let new = NewJob {
            id: JobId::new(Uuid::now_v7()),
            tenant: tenant.parse::<Tenant>().expect("a tenant"),
            created_by: "test".to_owned(),
            request: ExportRequest::parse(&body).expect("a request"),
            allowed_vehicles: AllowedVehicles::All,
            priority: export_core::job::Priority::default(),
            max_attempts: 1,
            idempotency: None,
            share_key: None,
            first_warnings: export_core::warnings::Warnings::default(),
            trace_parent: Some(TraceParent::new(1, 1)),
        };
        export_e2e::create(&self.jobs, &new).await;
        self.jobs.cancel(new.id).await.expect("cancelled");
        format!("{}-cancelled", new.id)
    }

    fn relay(&self, rabbitmq_url: &str) -> Running {
        let retry = RetryPolicy { first_wait_ms: 50, longest_wait_ms: 100 };
        let relay = Relay {
            outbox: self.jobs.outbox(),
            publisher: Publisher::new(rabbitmq_url.to_owned().into(), self.topology.clone()),
            webhooks: Some(WebhookRelay {
                webhooks: webhooks(),
                retry,
                give_up_after: Duration::from_hours(1),
            }),
        };
        let stop = CancellationToken::new();
        Running { task: tokio::spawn(relay.run(stop.clone())), stop }
    }

    fn rabbitmq_url(&self) -> &str {
        &self.space.services.rabbitmq_url
    }

    async fn until_delivered(&self, count: u64) {
        let outbox: mongodb::Collection<Document> =
            self.space.mongodb.database(&self.space.jobs_database).collection("outbox");
        for _ in 0..3_000 {
            let delivered = outbox.count_documents(doc! { "outcome": "delivered" }).await.expect("a count");
            if delivered == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{count} deliveries are not settled");
    }
}

fn webhooks() -> Webhooks {
    Webhooks::new(settings("127.0.0.0/8").sending).expect("a client")
}

struct Running {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(6), self.task)
            .await
            .expect("an end in time")
            .expect("no panic");
    }
}

#[tokio::test]
async fn what_a_dead_relay_has_sent_and_not_noted_is_sent_again() {
    let office = Office::open().await;
    let receiver = Receiver::start(Vec::new()).await;
    let id = office.ended_job("acme", &receiver.url("/")).await;
    // A relay that sends and dies.
    let outbox = office.jobs.outbox();
    assert_eq!(outbox.collect().await.expect("an answer"), 1);
    let lease = Duration::from_secs(1);
    let due = outbox.due_of(Channel::Webhook, "acme", &[], 1).await.expect("an answer").remove(0);
    let claimed = outbox.claim(&due, lease).await.expect("an answer").expect("a delivery");
    let url = claimed.webhook_url.clone().expect("an address");
    webhooks().send(&claimed.event, &url, claimed.claimed_at).await;
    assert_eq!(receiver.received().len(), 1);

    let relay = office.relay(office.rabbitmq_url());
    let webhooks = receiver.until_received(2).await;
    assert_eq!(
        (webhooks[0].id(), webhooks[1].id()),
        (id.clone(), id),
        "equal ids, so that the receiver can drop one"
    );
    assert_eq!(webhooks[0].body, webhooks[1].body);
    office.until_delivered(2).await;
    relay.end().await;
    office.space.cleanup().await;
}

#[tokio::test]
async fn several_relays_share_the_work() {
    let office = Office::open().await;
    let mut listener = Listener::bound(office.rabbitmq_url(), &office.topology, "#").await;
    let receiver = Receiver::start(Vec::new()).await;
    let mut expected = BTreeMap::new();
    for _ in 0..40 {
        expected.insert(office.ended_job("acme", &receiver.url("/")).await, 1);
    }
    let relays = [0, 1, 2].map(|_| office.relay(office.rabbitmq_url()));
    office.until_delivered(80).await;
    let counted = |ids: Vec<String>| {
        let mut counts = BTreeMap::new();
        for id in ids {
            *counts.entry(id).or_insert(0) += 1;
        }
        counts
    };
    assert_eq!(counted(receiver.received().iter().map(crate::receiver::Received::id).collect()), expected);
    let mut heard = Vec::new();
    for _ in 0..40 {
        heard.push(listener.next().await.id);
    }
    assert_eq!(counted(heard), expected);
    for relay in relays {
        relay.end().await;
    }
    office.space.cleanup().await;
}

#[tokio::test]
async fn events_wait_for_a_broker_that_is_away_and_webhooks_do_not() {
    let office = Office::open().await;
    let mut listener = Listener::bound(office.rabbitmq_url(), &office.topology, "export.cancelled").await;
    let (credentials, address) =
        office.rabbitmq_url().trim_start_matches("amqp://").split_once('@').expect("a user");
    let (address, virtual_host) = address.split_once('/').unwrap_or((address, "%2f"));
    let proxy = Proxy::start(address.to_owned()).await;
    proxy.cut();
    let relay = office.relay(&format!("amqp://{credentials}@{}/{virtual_host}", proxy.address()));
    let receiver = Receiver::start(Vec::new()).await;
    let ids = [
        office.ended_job("acme", &receiver.url("/")).await,
        office.ended_job("acme", &receiver.url("/")).await,
    ];
    receiver.until_received(2).await;
    office.until_delivered(2).await;
    proxy.restore();
    let mut heard = [listener.next().await.id, listener.next().await.id];
    heard.sort();
    assert_eq!(heard, ids);
    office.until_delivered(4).await;
    relay.end().await;
    office.space.cleanup().await;
}

#[tokio::test]
async fn a_relay_that_is_stopped_hands_back_what_is_under_way() {
    let office = Office::open().await;
    let receiver = Receiver::start(vec![crate::receiver::Reply::Silence]).await;
    let relay = office.relay(office.rabbitmq_url());
    let id = office.ended_job("acme", &receiver.url("/")).await;
    receiver.until_received(1).await;
    relay.end().await;
    // Another relay need not wait for the claim to expire, which takes a minute.
    let other = office.relay(office.rabbitmq_url());
    let webhooks = receiver.until_received(2).await;
    assert_eq!(webhooks[1].id(), id);
    assert!(webhooks[1].at - webhooks[0].at < Duration::from_secs(15), "{webhooks:?}");
    office.until_delivered(2).await;
    other.end().await;
    office.space.cleanup().await;
}

/// A thousand webhooks of one tenant are due and fail at once, at many addresses; another tenant's
/// is sent within seconds all the same, also to a host that the first one keeps busy.
#[tokio::test]
async fn c10_one_tenants_failing_webhooks_delay_no_other_tenant() {
    const FAILING: u32 = 1_000;
    let office = Office::open().await;
    let receiver = Receiver::start(vec![Reply::Silence; 4]).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let closed_url = format!("http://{}/", closed.local_addr().expect("an address"));
    drop(closed);
    office.ended_job("failing", &closed_url).await;
    // These four keep the receiver's host busy.
    for _ in 0..4 {
        office.ended_job("failing", &receiver.url("/")).await;
    }
    office.jobs.outbox().collect().await.expect("collected");
    let outbox: mongodb::Collection<Document> =
        office.space.mongodb.database(&office.space.jobs_database).collection("outbox");
    // The longest overdue, so that they are sent first.
    let first = vec![doc! { "$set": { "dueAt": bson::DateTime::from_millis(0) } }];
    let busy = outbox.update_many(doc! { "url": receiver.url("/") }, first).await.expect("changed");
    assert_eq!(busy.modified_count, 4);
    let one = outbox.find_one(doc! { "url": &closed_url }).await.expect("an answer").expect("an entry");
    let copies = (0..FAILING).map(|number| {
        let mut copy = one.clone();
        // Different hosts, as far as the relay knows; all longer overdue than the other tenant's.
        let (host, due_at) = (format!("host-{number}"), bson::DateTime::from_millis(i64::from(number) + 1));
        copy.extend(doc! { "_id": format!("{host}/webhook"), "host": host, "dueAt": due_at });
        copy
    });
    outbox.insert_many(copies).await.expect("inserted");
    let relay = office.relay(office.rabbitmq_url());
    receiver.until_received(4).await;

    let id = office.ended_job("other", &receiver.url("/other")).await;
    let ended_at = std::time::Instant::now();
    let webhooks = receiver.until_received(5).await;
    let took = ended_at.elapsed();
    let of_other = webhooks.iter().find(|webhook| webhook.path == "/other").expect("the other tenant's");
    assert_eq!(of_other.id(), id);
    let left =
        outbox.count_documents(doc! { "tenant": "failing", "settledAt": null }).await.expect("a count");
    eprintln!("delivered after {took:?}, while {left} of another tenant fail");
    assert!(left > u64::from(FAILING), "they still fail: {left}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    relay.end().await;
    office.space.cleanup().await;
}
