//! The outbox: announcements become deliveries, once each, and deliveries are claimed, settled,
//! deferred and abandoned.

use std::time::Duration;

use bson::{Bson, Document, doc};
use export_core::event::EventKind;
use export_core::job::RetryPolicy;
use export_store::{BackOff, Busy, Channel, Delivery, Failed, JobStore, Outbox, PutOff};
use mongodb::Collection;

use crate::store::{LEASE, TestStore, ago, client, new_job};

/// A job that has ended, with a webhook to this host.
async fn ended_job(store: &TestStore, tenant: &str, host: &str) -> String {
    let mut new = new_job();
    new.tenant = tenant.parse().expect("a tenant");
    new.request.webhook_url = Some(format!("https://{host}/hook?key=$1").parse().expect("an address"));
    store.created(&new).await;
    store.jobs.cancel(new.id).await.expect("cancelled");
    new.id.to_string()
}

fn entries(store: &TestStore) -> Collection<Document> {
    store.space.mongodb.database(&store.space.jobs_database).collection("outbox")
}

async fn entry(store: &TestStore, id: &str) -> Document {
    entries(store).find_one(doc! { "_id": id }).await.expect("an answer").expect("an entry")
}

async fn change(store: &TestStore, id: &str, changes: Document) {
    let outcome = entries(store).update_one(doc! { "_id": id }, vec![doc! { "$set": changes }]).await;
    assert_eq!(outcome.expect("an answer").matched_count, 1);
}

async fn claimed(outbox: &Outbox, channel: Channel) -> Option<Delivery> {
    claimed_beside(outbox, channel, &Busy::default()).await
}

async fn claimed_beside(outbox: &Outbox, channel: Channel, busy: &Busy) -> Option<Delivery> {
    let due = outbox.due(channel, busy, 1).await.expect("an answer");
    outbox.claim(due.first()?, LEASE).await.expect("an answer")
}

/// Due again at once, for an hour.
const AT_ONCE: PutOff = PutOff {
    back_off: BackOff { policy: RetryPolicy { first_wait_ms: 60_000, longest_wait_ms: 60_000 }, random: 0.0 },
    at_least: Duration::ZERO,
    give_up_after: Duration::from_hours(1),
};

#[tokio::test]
async fn an_announcement_becomes_one_delivery_per_way() {
    let store = TestStore::create().await;
    let outbox = store.jobs.outbox();
    let id = ended_job(&store, "acme", "hooks.example").await;
    let quiet = store.job().await;
    store.jobs.cancel(quiet).await.expect("cancelled");
    assert_eq!(outbox.collect().await.expect("an answer"), 2);
    assert_eq!(outbox.collect().await.expect("an answer"), 0);
    let mut ids = Vec::new();
    let mut found = entries(&store).find(doc! {}).await.expect("an answer");
    while found.advance().await.expect("an answer") {
        ids.push(found.deserialize_current().expect("a document").get_str("_id").expect("an id").to_owned());
    }
    ids.sort();
    let mut expected = vec![
        format!("{id}-cancelled/amqp"),
        format!("{id}-cancelled/webhook"),
        format!("{quiet}-cancelled/amqp"),
    ];
    expected.sort();
    assert_eq!(ids, expected);

    let delivery = claimed(&outbox, Channel::Webhook).await.expect("a delivery");
    assert_eq!(delivery.event.id(), format!("{id}-cancelled"));
    assert_eq!((delivery.event.kind, delivery.event.tenant.as_str()), (EventKind::Cancelled, "acme"));
    assert_eq!(delivery.webhook_url.expect("an address").as_str(), "https://hooks.example/hook?key=$1");
    let job = store.get(id.parse().expect("an id")).await;
    assert_eq!(Some(delivery.event.occurred_at), job.finished_at);
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_delivery_that_cannot_be_read_is_given_up() {
    let store = TestStore::create().await;
    let outbox = store.jobs.outbox();
    ended_job(&store, "acme", "hooks.example").await;
    assert_eq!(outbox.collect().await.expect("an answer"), 1);
    let of_broker = doc! { "channel": "amqp" };
    let strange = doc! { "$set": { "kind": "of a later version" } };
    entries(&store).update_one(of_broker.clone(), strange).await.expect("an answer");
    assert!(claimed(&outbox, Channel::Amqp).await.is_none(), "it is abandoned");
    let entry = entries(&store).find_one(of_broker).await.expect("an answer").expect("an entry");
    assert_eq!(entry.get_str("outcome").ok(), Some("given up"), "{entry:#}");
    assert!(entry.get_str("reason").is_ok_and(|reason| reason.contains("cannot be read")), "{entry:#}");
    assert!(entry.get_datetime("settledAt").is_ok(), "{entry:#}");
    let due = outbox.due(Channel::Amqp, &Busy::default(), 1).await.expect("an answer");
    assert_eq!(due, [], "it does not block the others");
    assert!(claimed(&outbox, Channel::Webhook).await.is_some(), "the other goes on");
    store.space.cleanup().await;
}

#[tokio::test]
async fn collecting_twice_or_half_comes_to_the_same() {
    let store = TestStore::create().await;
    let id = ended_job(&store, "acme", "hooks.example").await;
    let announced = store.document(id.parse().expect("an id")).await.get("unannounced").cloned();
    let announced = announced.expect("a list");
    let client = client(&store.space).await;
    let outboxes = [0; 4].map(|_| JobStore::new(&client, &store.space.jobs_database).outbox());
    let [a, b, c, d] = &outboxes;
    let (a, b, c, d) = tokio::join!(a.collect(), b.collect(), c.collect(), d.collect());
    assert!([a, b, c, d].into_iter().all(|outcome| outcome.is_ok()));
    let outbox = store.jobs.outbox();
    let delivery = claimed(&outbox, Channel::Amqp).await.expect("a delivery");
    assert!(outbox.delivered(&delivery).await.expect("an answer"));

    // A relay that died before it removed the announcement.
    store.tamper(id.parse().expect("an id"), doc! { "unannounced": announced }).await;
    assert_eq!(outbox.collect().await.expect("an answer"), 1);
    assert!(claimed(&outbox, Channel::Amqp).await.is_none(), "it was delivered");
    assert_eq!(entries(&store).count_documents(doc! {}).await.expect("a count"), 2);
    store.space.cleanup().await;
}

#[tokio::test]
async fn what_is_announced_while_others_collect_is_kept() {
    let store = TestStore::create().await;
    let fence = store.claimed_job("worker").await;
    store.commit(&fence, &crate::store::result("s3://bucket/key")).await;
    store.tamper(fence.job_id, doc! { "expiresAt": ago(Duration::from_secs(1)) }).await;
    assert_eq!(store.jobs.outbox().collect().await.expect("an answer"), 1);
    store.jobs.sweep_expired_result().await.expect("an answer").expect("swept");
    assert_eq!(store.jobs.outbox().collect().await.expect("an answer"), 1);
    for kind in [EventKind::Finished, EventKind::Expired] {
        let delivery = claimed(&store.jobs.outbox(), Channel::Amqp).await.expect("a delivery");
        assert_eq!(delivery.event.kind, kind, "oldest first");
    }
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_claim_holds_for_a_while_and_another_may_follow() {
    let store = TestStore::create().await;
    let outbox = store.jobs.outbox();
    ended_job(&store, "acme", "hooks.example").await;
    outbox.collect().await.expect("an answer");
    let due = outbox.due(Channel::Webhook, &Busy::default(), 1).await.expect("an answer").remove(0);
    let first = outbox.claim(&due, LEASE).await.expect("an answer").expect("a delivery");
    assert!(outbox.claim(&due, LEASE).await.expect("an answer").is_none(), "it is taken");
    assert!(claimed(&outbox, Channel::Webhook).await.is_none(), "and not found");
    let id = format!("{}/webhook", first.event.id());
    change(&store, &id, doc! { "dueAt": ago(Duration::from_secs(1)) }).await;
    let second = claimed(&outbox, Channel::Webhook).await.expect("a delivery");
    assert_eq!((first.attempts, second.attempts), (1, 2));
    // A relay that lost the claim can neither defer nor abandon nor return the delivery ...
    assert_eq!(outbox.failed(&first, "late", AT_ONCE).await.expect("an answer"), Failed::Lost);
    assert!(!outbox.give_up(&first, "late").await.expect("an answer"));
    outbox.hand_back(&first).await.expect("an answer");
    assert!(claimed(&outbox, Channel::Webhook).await.is_none());
    // ... but a delivery that has arrived can always be settled.
    assert!(outbox.delivered(&first).await.expect("an answer"));
    assert!(!outbox.delivered(&second).await.expect("an answer"));
    assert_eq!(outbox.failed(&second, "late", AT_ONCE).await.expect("an answer"), Failed::Lost);
    let settled = entry(&store, &id).await;
    assert_eq!(settled.get_str("outcome").expect("an outcome"), "delivered");
    assert!(matches!(settled.get("dueAt"), Some(Bson::Null)));
    store.space.cleanup().await;
}

#[tokio::test]
async fn a_delivery_is_put_off_and_given_up_by_the_server_s_clock() {
    let store = TestStore::create().await;
    let outbox = store.jobs.outbox();
    ended_job(&store, "acme", "hooks.example").await;
    outbox.collect().await.expect("an answer");
    let waits = [
        (AT_ONCE, 0..1_000),
        (PutOff { back_off: BackOff { random: 0.5, ..AT_ONCE.back_off }, ..AT_ONCE }, 29_000..31_000),
        // The receiver asks for a longer delay than the back-off.
        (PutOff { at_least: Duration::from_mins(2), ..AT_ONCE }, 119_000..121_000),
    ];
    let mut id = String::new();
    for (put_off, expected_ms) in waits {
        let delivery = claimed(&outbox, Channel::Webhook).await.expect("a delivery");
        id = format!("{}/webhook", delivery.event.id());
        assert_eq!(
            outbox.failed(&delivery, "the receiver $said no", put_off).await.expect("an answer"),
            Failed::PutOff
        );
        let due_at = entry(&store, &id).await.get_datetime("dueAt").expect("a time").timestamp_millis();
        let wait_ms = due_at - delivery.claimed_at.timestamp_millis();
        // The time from the claim to the failure is added.
        assert!((expected_ms.start..expected_ms.end + 5_000).contains(&wait_ms), "{wait_ms} ms");
        change(&store, &id, doc! { "dueAt": ago(Duration::from_secs(1)) }).await;
    }
    change(&store, &id, doc! { "firstClaimedAt": ago(Duration::from_mins(61)) }).await;
    let delivery = claimed(&outbox, Channel::Webhook).await.expect("a delivery");
    assert_eq!(
        outbox.failed(&delivery, &"no".repeat(500), AT_ONCE).await.expect("an answer"),
        Failed::GivenUp
    );
    let settled = entry(&store, &id).await;
    assert_eq!(settled.get_str("outcome").expect("an outcome"), "given up");
    assert_eq!(settled.get_str("reason").expect("a reason").len(), 300, "kept, but not at any length");
    assert!(claimed(&outbox, Channel::Webhook).await.is_none());
    store.space.cleanup().await;
}

#[tokio::test]
async fn busy_hosts_and_tenants_are_passed_over() {
    let store = TestStore::create().await;
    let outbox = store.jobs.outbox();
    for (tenant, host) in [("acme", "slow.example"), ("acme", "quick.example"), ("other", "slow.example")] {
        ended_job(&store, tenant, host).await;
    }
    outbox.collect().await.expect("an answer");
    let busy = |hosts: &[&str], tenants: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Busy { hosts: owned(hosts), tenants: owned(tenants) }
    };
    let claim = async |busy: Busy| {
        let claimed = claimed_beside(&outbox, Channel::Webhook, &busy).await;
        claimed.map(|delivery| {
            let host = delivery.webhook_url.as_ref().expect("an address").host().to_string();
            (delivery.event.tenant.to_string(), host)
        })
    };
    let found = |tenant: &str, host: &str| Some((tenant.to_owned(), host.to_owned()));
    assert_eq!(claim(busy(&["slow.example"], &["acme"])).await, None);
    assert_eq!(claim(busy(&["slow.example"], &[])).await, found("acme", "quick.example"));
    assert_eq!(claim(busy(&[], &["acme"])).await, found("other", "slow.example"));
    assert_eq!(claim(busy(&[], &[])).await, found("acme", "slow.example"));
    assert!(claimed(&outbox, Channel::Amqp).await.is_some(), "the broker's are none of theirs");
    store.space.cleanup().await;
}

#[tokio::test]
async fn looking_for_nothing_costs_nothing() {
    let store = TestStore::create().await;
    for _ in 0..20 {
        ended_job(&store, "acme", "hooks.example").await;
    }
    let outbox = store.jobs.outbox();
    outbox.collect().await.expect("an answer");
    while let Some(delivery) = claimed(&outbox, Channel::Webhook).await {
        outbox.delivered(&delivery).await.expect("an answer");
    }
    let database = store.space.mongodb.database(&store.space.jobs_database);
    let waiting = doc! {
        "channel": "webhook", "dueAt": { "$type": "date" }, "$expr": { "$lte": ["$dueAt", "$$NOW"] },
        "host": { "$nin": ["slow.example"] },
    };
    for (find, index) in [
        (
            doc! { "find": "jobs", "filter": { "unannounced.at": { "$type": "date" } }, "limit": 100 },
            "announcements",
        ),
        (doc! { "find": "outbox", "filter": waiting, "sort": { "dueAt": 1 }, "limit": 1 }, "waiting"),
    ] {
        let explained = database.run_command(doc! { "explain": find, "verbosity": "executionStats" }).await;
        let explained = explained.expect("an explanation");
        let stats = explained.get_document("executionStats").expect("figures");
        assert!(explained.to_string().contains(&format!("\"indexName\": \"{index}\"")), "{explained}");
        assert_eq!(stats.get_i32("totalDocsExamined").expect("a count"), 0, "{stats}");
        assert_eq!(stats.get_i32("totalKeysExamined").expect("a count"), 0, "{stats}");
    }
    store.space.cleanup().await;
}
