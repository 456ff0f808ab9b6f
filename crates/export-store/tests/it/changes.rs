//! Subscribers of a job are woken when it changes, with and without a change stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use export_core::JobId;
use export_store::{Changes, JobStore, Subscription, connect};
use export_testkit::proxy::{Fault, Pattern, Proxy, Rule};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::store::{LEASE, TestStore, progress};

/// The stream wakes subscribers within a moment; periodic polling beside it every ten seconds.
const AT_ONCE: Duration = Duration::from_secs(4);
/// Longest wait of a test.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that follows changes.
struct Follower {
    changes: Changes,
    stop: Arc<Notify>,
    running: JoinHandle<()>,
}

impl Follower {
    async fn start(store: &TestStore, proxy: &Proxy) -> Self {
        let uri = store.space.services.mongodb_uri_through(&proxy.address().to_string());
        let client = connect(&uri.into(), "changes").await.expect("a client");
        let changes = Changes::of(&JobStore::new(&client, &store.space.jobs_database));
        let stop = Arc::new(Notify::new());
        let running = tokio::spawn({
            let (changes, stop) = (changes.clone(), Arc::clone(&stop));
            async move { changes.run(stop.notified()).await }
        });
        Self { changes, stop, running }
    }

    /// A subscription to this job whose stream is open.
    async fn subscribed(&self, proxy: &Proxy, job_id: JobId) -> Subscription {
        let asked = proxy.add(Rule::request(Pattern::any().containing("getMore"), Fault::None));
        let mut subscription = self.changes.subscribe(job_id).expect("room");
        asked.until_seen(1).await;
        // The opening wakes all subscribers.
        woken_within(&mut subscription, PATIENCE).await;
        subscription
    }

    async fn end(self) {
        self.stop.notify_one();
        self.running.await.expect("no panic");
    }
}

/// A job store and a process that follows its changes through a proxy.
struct Followed {
    store: TestStore,
    proxy: Proxy,
    follower: Follower,
}

impl Followed {
    async fn start() -> Self {
        let store = TestStore::create().await;
        let proxy = Proxy::start(store.space.services.mongodb_address().to_owned()).await;
        let follower = Follower::start(&store, &proxy).await;
        Self { store, proxy, follower }
    }

    /// A subscription to this job whose stream is open.
    async fn subscribed(&self, job_id: JobId) -> Subscription {
        self.follower.subscribed(&self.proxy, job_id).await
    }

    async fn end(self) {
        self.follower.end().await;
        self.store.space.cleanup().await;
    }
}

/// How long the subscription took to be woken. Panics after `longest`.
async fn woken_within(subscription: &mut Subscription, longest: Duration) -> Duration {
    let began = Instant::now();
    let woken = tokio::time::timeout(longest, subscription.changed()).await;
    assert!(woken.unwrap_or_else(|_| panic!("not woken in {longest:?}")), "the hub was closed");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_wakes_those_who_wait_for_its_job() {
    let followed = Followed::start().await;
    let fence = followed.store.claimed_job("worker").await;
    let mut subscription = followed.subscribed(fence.job_id).await;
    for percent in [10.0, 20.0, 30.0] {
        followed.store.jobs.heartbeat(&fence, LEASE, &progress(percent)).await.expect("an answer");
        woken_within(&mut subscription, AT_ONCE).await;
    }
    followed.end().await;
}

/// The first subscriber opens the stream; without subscribers there is none.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_followed_without_subscribers() {
    let followed = Followed::start().await;
    let id = followed.store.job().await;
    let opened = followed.proxy.add(Rule::request(Pattern::any().containing("$changeStream"), Fault::None));
    // Another process opens a stream. If the first one followed without subscribers, it would have
    // opened its own by then, because it started earlier.
    let other = Follower::start(&followed.store, &followed.proxy).await;
    drop(other.subscribed(&followed.proxy, id).await);
    assert_eq!(opened.seen(), 1);
    other.end().await;
    drop(followed.subscribed(id).await);
    assert_eq!(opened.seen(), 2);
    followed.end().await;
}

/// While the stream is cut, all subscribers are woken about every second; when MongoDB is back, the
/// stream is opened again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_is_polled_for_and_comes_back() {
    let followed = Followed::start().await;
    let fence = followed.store.claimed_job("worker").await;
    let mut subscription = followed.subscribed(fence.job_id).await;
    followed.proxy.cut();
    // The first of them may still come from the stream.
    for _ in 0..4 {
        woken_within(&mut subscription, PATIENCE).await;
    }
    let reopened = followed.proxy.add(Rule::request(Pattern::any().containing("getMore"), Fault::None));
    followed.proxy.restore_connections();
    reopened.until_seen(1).await;
    woken_within(&mut subscription, PATIENCE).await;
    followed.store.jobs.heartbeat(&fence, LEASE, &progress(50.0)).await.expect("an answer");
    woken_within(&mut subscription, AT_ONCE).await;
    followed.end().await;
}

/// An unresponsive server does not keep subscribers waiting: the driver has no timeout of its own
/// for a stream, but `Changes` has.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_is_polled_for() {
    let followed = Followed::start().await;
    let id = followed.store.job().await;
    let mut subscription = followed.subscribed(id).await;
    let silence = followed.proxy.add(Rule::always(Fault::Silence));
    // With a working stream there would be one wake-up in ten seconds.
    let began = Instant::now();
    for _ in 0..5 {
        woken_within(&mut subscription, PATIENCE).await;
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    silence.lift();
    followed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_process_ends_all_waits() {
    let followed = Followed::start().await;
    let id = followed.store.job().await;
    let mut subscription = followed.follower.changes.subscribe(id).expect("room");
    followed.follower.stop.notify_one();
    let waiting = async { while subscription.changed().await {} };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it ends");
    assert!(followed.follower.changes.subscribe(id).is_none());
    followed.follower.running.await.expect("no panic");
    followed.store.space.cleanup().await;
}

/// Subscribers to all jobs are woken by the stream for any job, and the stream ends with the last
/// subscriber.
#[tokio::test(flavor = "multi_thread")]
async fn any_change_wakes_those_who_wait_for_any() {
    let followed = Followed::start().await;
    let asked = followed.proxy.add(Rule::request(Pattern::any().containing("getMore"), Fault::None));
    let mut any = followed.follower.changes.subscribe_to_any();
    asked.until_seen(1).await;
    let woken = async |any: &mut export_store::Subscription| {
        tokio::time::timeout(AT_ONCE, any.changed()).await.expect("woken in time")
    };
    assert!(woken(&mut any).await, "the opening wakes all subscribers");
    for _ in 0..2 {
        followed.store.job().await;
        assert!(woken(&mut any).await);
    }
    followed.follower.stop.notify_one();
    let waiting = async { while any.changed().await {} };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it ends");
    followed.follower.running.await.expect("no panic");
    followed.store.space.cleanup().await;
}
