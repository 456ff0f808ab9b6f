//! The outbox: announcements become deliveries, once each, and deliveries are claimed, settled,
//! deferred and abandoned.

use std::time::Duration;

use bson::{Bson, Document, doc};
use export_core::event::EventKind;
use export_core::job::RetryPolicy;
use export_store::{BackOff, Channel, Delivery, Due, Failed, JobStore, Outbox, PutOff};
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
    let due = all_due(outbox, channel).await;
    outbox.claim(due.first()?, LEASE).await.expect("an answer")
}

/// The longest overdue delivery of each tenant.
async fn all_due(outbox: &Outbox, channel: Channel) -> Vec<Due> {
    let mut due = Vec::new();
    for tenant in outbox.tenants_with_due(channel).await.expect("an answer") {
        due.extend(outbox.due_of(channel, &tenant, &[], 1).await.expect("an answer"));
    }
    due
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
    assert_eq!(all_due(&outbox, Channel::Amqp).await, [], "it does not block the others");
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
    let due = all_due(&outbox, Channel::Webhook).await.remove(0);
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
async fn busy_hosts_are_passed_over() {
    let store = TestStore::create().await;
    let outbox = store.jobs.outbox();
    for (tenant, host) in [("acme", "slow.example"), ("acme", "quick.example"), ("other", "slow.example")] {
        ended_job(&store, tenant, host).await;
    }
    outbox.collect().await.expect("an answer");
    let hosts_of = async |tenant: &str, busy: &[&str]| {
        let busy: Vec<String> = busy.iter().map(|host| (*host).to_owned()).collect();
        let due = outbox.due_of(Channel::Webhook, tenant, &busy, 9).await.expect("an answer");
        assert!(due.iter().all(|due| due.tenant == tenant), "{due:?}");
        let mut hosts: Vec<String> = due.into_iter().map(|due| due.host).collect();
        hosts.sort_unstable();
        hosts
    };
    assert_eq!(hosts_of("acme", &[]).await, ["quick.example", "slow.example"]);
    assert_eq!(hosts_of("acme", &["slow.example"]).await, ["quick.example"]);
    assert_eq!(hosts_of("other", &["slow.example"]).await, [""; 0]);
    assert_eq!(hosts_of("other", &["quick.example"]).await, ["slow.example"]);
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
    let find = doc! { "find": "jobs", "filter": { "unannounced.at": { "$type": "date" } }, "limit": 100 };
    let explained = database.run_command(doc! { "explain": find, "verbosity": "executionStats" }).await;
    let explained = explained.expect("an explanation");
    let stats = explained.get_document("executionStats").expect("figures");
    assert!(explained.to_string().contains("\"indexName\": \"announcements\""), "{explained}");
    assert_eq!(stats.get_i32("totalDocsExamined").expect("a count"), 0, "{stats}");
    assert_eq!(stats.get_i32("totalKeysExamined").expect("a count"), 0, "{stats}");

    let (due, line) = profiled(&store, outbox.due_of(Channel::Webhook, "acme", &[], 1)).await;
    assert_eq!(due.expect("an answer"), []);
    assert_eq!(count(&line, "keysExamined") + count(&line, "docsExamined"), 0, "{line}");
    store.space.cleanup().await;
}

/// What the future returns, and the server's figures of its one read of the outbox.
async fn profiled<T>(store: &TestStore, asked: impl Future<Output = T>) -> (T, Document) {
    let database = store.space.mongodb.database(&store.space.jobs_database);
    database.run_command(doc! { "profile": 2 }).await.expect("profiling");
    let answer = asked.await;
    database.run_command(doc! { "profile": 0 }).await.expect("no profiling");
    let profile = database.collection::<Document>("system.profile");
    let of_outbox = doc! { "command.aggregate": "outbox" };
    let newest = profile.find_one(of_outbox).sort(doc! { "ts": -1 }).await.expect("a profile");
    (answer, newest.expect("the read"))
}

fn count(line: &Document, name: &str) -> i32 {
    line.get_i32(name).unwrap_or_else(|error| panic!("{name} is {error}: {line}"))
}

/// One tenant's thousands of due deliveries are neither read to find the other tenants, nor do they
/// come before theirs.
#[tokio::test]
async fn c10_each_tenant_with_due_deliveries_is_found_whatever_the_others_have() {
    let store = TestStore::create().await;
    let outbox = store.jobs.outbox();
    for tenant in ["acme", "other"] {
        ended_job(&store, tenant, "hooks.example").await;
    }
    outbox.collect().await.expect("an answer");
    let one = entries(&store).find_one(doc! { "tenant": "acme", "channel": "webhook" }).await;
    let one = one.expect("an answer").expect("an entry");
    let older = |number: i32| {
        let mut entry = one.clone();
        entry.insert("_id", format!("older-{number}"));
        entry.insert("dueAt", bson::DateTime::from_millis(i64::from(number)));
        entry
    };
    entries(&store).insert_many((0..2_000).map(older)).await.expect("inserted");

    let (tenants, line) = profiled(&store, outbox.tenants_with_due(Channel::Webhook)).await;
    let mut tenants = tenants.expect("an answer");
    tenants.sort_unstable();
    assert_eq!(tenants, ["acme", "other"]);
    let of_other = outbox.due_of(Channel::Webhook, "other", &[], 10).await.expect("an answer");
    assert_eq!(of_other.len(), 1);
    let of_acme = outbox.due_of(Channel::Webhook, "acme", &[], 10).await.expect("an answer");
    assert_eq!(of_acme[0].id, "older-0", "the longest overdue first");

    assert_eq!(line.get_str("planSummary").ok().map(|plan| &plan[..13]), Some("DISTINCT_SCAN"), "{line}");
    assert!(count(&line, "keysExamined") <= 4, "{line}");
    store.space.cleanup().await;
}

/// A tenant's deliveries for one busy receiver, however many, are not all read to find its others.
#[tokio::test]
async fn c10_a_search_reads_a_bounded_number_of_deliveries_for_busy_hosts() {
    let store = TestStore::create().await;
    let outbox = store.jobs.outbox();
    ended_job(&store, "acme", "slow.example").await;
    outbox.collect().await.expect("an answer");
    let one = entries(&store).find_one(doc! { "channel": "webhook" }).await;
    let one = one.expect("an answer").expect("an entry");
    let due = |number: i32, host: &str| {
        let mut entry = one.clone();
        entry.insert("_id", format!("{host}-{number}"));
        entry.insert("host", host);
        entry.insert("dueAt", bson::DateTime::from_millis(i64::from(number)));
        entry
    };
    // One for another host is among the first, one behind thousands for the busy one.
    let others = [due(1_000, "quick.example"), due(9_000, "quick.example")];
    let all = (0..5_000).map(|number| due(number, "slow.example")).chain(others);
    entries(&store).insert_many(all).await.expect("inserted");

    let busy = ["slow.example".to_owned()];
    let (found, line) = profiled(&store, outbox.due_of(Channel::Webhook, "acme", &busy, 10)).await;
    let ids: Vec<String> = found.expect("an answer").into_iter().map(|due| due.id).collect();
    assert_eq!(ids, ["quick.example-1000"]);
    assert!(count(&line, "keysExamined") <= 2_001 && count(&line, "docsExamined") <= 2_001, "{line}");
    assert!(!line.contains_key("hasSortStage"), "{line}");
    store.space.cleanup().await;
}
