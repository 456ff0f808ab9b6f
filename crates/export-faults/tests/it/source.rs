//! The database fails in the middle of reading: the export resumes after the last document, without
//! losing or repeating any.

use bson::{Document, doc};
use export_faults::patterns::next_batch;
use export_faults::{Deployment, Fleet, Links, attempts_of, epoch_of, error_of, state_of};
use export_testkit::own::OwnMongod;
use export_testkit::proxy::{Direction, Fault, Proxy, Rule};
use export_testkit::services::Services;
use futures_util::TryStreamExt as _;

/// Days of an export that needs many batches.
const DAYS: u16 = 30;
/// Days of an export that must take a long time.
const MANY_DAYS: u16 = 200;
/// Batches that arrive before the fault.
const BATCHES_BEFORE: usize = 6;
/// Number of consecutive faults. The driver sends each read at most twice, and a fifth failure
/// would end the attempt: these are four, even if all of them hit one collection. There are two
/// collections, so one of them fails at least twice, which its reader notices.
const FAULTS: usize = 8;

async fn on_own_mongod() -> (OwnMongod, Deployment) {
    let mongod = OwnMongod::start().await;
    let services = Services { mongodb_uri: mongod.uri(), ..Services::from_environment() };
    (mongod, Deployment::on(services).await)
}

/// A worker that reads vehicles through a proxy of its own, and uses its links for all else.
async fn with_source(deployment: &Deployment, links: Links, source: &Proxy) -> export_faults::Worker {
    let uri = deployment.space.services.mongodb_uri_through(&source.address().to_string());
    deployment.over(links).with("SOURCE_MONGODB_URI", &uri).with("RETRY_FIRST_WAIT_MS", "100").worker().await
}

async fn source_proxy(deployment: &Deployment) -> Proxy {
    Proxy::start(deployment.space.services.mongodb_address().to_owned()).await
}

/// Both the vehicles and the jobs are there; the worker knows the replica set.
#[tokio::test(flavor = "multi_thread")]
async fn the_primary_steps_down_in_mid_scan() {
    let (mongod, deployment) = on_own_mongod().await;
    let fleet = Fleet::long(&deployment, MANY_DAYS).await;
    let api = deployment.api().await;
    let worker = deployment.with("MONGODB_URI", &mongod.uri()).worker().await;
    let job_id = api.accepted(&fleet.body).await;
    deployment.until_state(&job_id, "STARTED").await;
    let mut step_downs = 0;
    while state_of(&deployment.job(&job_id).await) == "STARTED" {
        mongod.step_down().await;
        step_downs += 1;
    }
    assert!(step_downs > 0, "the export was over before");
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), epoch_of(&job)), (1, 1), "{job:#}");
    drop((api, worker));
    deployment.end().await;
}

/// The server with the vehicles and the jobs is killed, and back a few seconds later.
#[tokio::test(flavor = "multi_thread")]
async fn mongod_is_restarted_in_mid_scan() {
    let (mut mongod, deployment) = on_own_mongod().await;
    let fleet = Fleet::long(&deployment, DAYS).await;
    let api = deployment.api().await;
    let worker = deployment.worker().await;
    let mid_scan = Rule::request(next_batch(), Fault::Hold(Direction::Requests));
    let held = worker.links.mongodb.add(mid_scan.let_through(BATCHES_BEFORE));
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(BATCHES_BEFORE + 1).await;
    mongod.kill();
    mongod.start_again().await;
    held.lift();
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), epoch_of(&job)), (1, 1), "{job:#}");
    drop((api, worker));
    deployment.end().await;
}

/// The server has answered, and the answer is lost: these documents must nevertheless arrive, once.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_reset_in_the_middle_of_batches() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::long(&deployment, DAYS).await;
    let api = deployment.api().await;
    let source = source_proxy(&deployment).await;
    let links = deployment.links().await;
    let lost =
        source.add(Rule::request(next_batch(), Fault::LoseReply).let_through(BATCHES_BEFORE).times(FAULTS));
    // After the last lost batch, and some batches more: a reader must make progress in between.
    let before_resets = BATCHES_BEFORE + FAULTS + BATCHES_BEFORE;
    let reset =
        source.add(Rule::request(next_batch(), Fault::Reset).let_through(before_resets).times(FAULTS));
    let mut worker = with_source(&deployment, links, &source).await;
    let job_id = api.accepted(&fleet.body).await;
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!(lost.answered(), FAULTS);
    assert!(reset.seen() > before_resets + FAULTS, "{} requests", reset.seen());
    assert_eq!((attempts_of(&job), epoch_of(&job)), (1, 1), "{job:#}");
    worker.until_written("retrying after the last document");
    drop((api, worker));
    deployment.end().await;
}

/// An export that waits for its next batch, for however long, has no open cursor on the server.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_open_between_batches() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::long(&deployment, DAYS).await;
    let api = deployment.api().await;
    let source = source_proxy(&deployment).await;
    let links = deployment.links().await;
    let mid_scan = Rule::request(next_batch(), Fault::Hold(Direction::Requests));
    let held = source.add(mid_scan.let_through(BATCHES_BEFORE));
    let worker = with_source(&deployment, links, &source).await;
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(BATCHES_BEFORE + 1).await;
    assert_eq!(idle_cursors(&deployment, "long").await, 0);
    held.lift();
    let job = fleet.exported(&deployment, &job_id).await;
    assert_eq!((attempts_of(&job), epoch_of(&job)), (1, 1), "{job:#}");
    drop((api, worker));
    deployment.end().await;
}

/// Open, idle cursors on a vehicle's collections.
async fn idle_cursors(deployment: &Deployment, vehicle: &str) -> usize {
    let client = &deployment.space.mongodb;
    let vehicle = deployment.space.vehicle(vehicle);
    let idle = [
        doc! { "$currentOp": { "allUsers": true, "idleCursors": true } },
        doc! { "$match": { "type": "idleCursor", "ns": { "$regex": format!("^{vehicle}[.]") } } },
    ];
    let cursors = client.database("admin").aggregate(idle).await.expect("current operations");
    let cursors: Vec<Document> = cursors.try_collect().await.expect("current operations");
    cursors.len()
}

/// The database is down for longer than an attempt waits, and comes back: another try finishes, and
/// the outage has used no attempt.
#[tokio::test(flavor = "multi_thread")]
async fn the_source_is_gone_for_a_while() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::long(&deployment, DAYS).await;
    let api = deployment.with("MAX_ATTEMPTS", "1").api().await;
    let source = source_proxy(&deployment).await;
    let links = deployment.links().await;
    let mid_scan = Rule::request(next_batch(), Fault::Hold(Direction::Requests));
    let held = source.add(mid_scan.let_through(BATCHES_BEFORE));
    let worker = with_source(&deployment, links, &source).await;
    let job_id = api.accepted(&fleet.body).await;
    held.until_seen(BATCHES_BEFORE + 1).await;
    source.cut();
    deployment.until(&job_id, |job| error_of(job) == "source_unavailable").await;
    source.restore();
    let job = fleet.exported(&deployment, &job_id).await;
    assert!(attempts_of(&job) == 1 && epoch_of(&job) >= 2, "{job:#}");
    drop((api, worker));
    deployment.end().await;
}
