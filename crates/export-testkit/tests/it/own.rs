//! Servers and programs that a test may treat badly.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bson::doc;
use export_testkit::isolation::s3_client;
use export_testkit::memory_group::MemoryGroup;
use export_testkit::own::{OwnMongod, OwnRabbitmq, OwnS3};
use export_testkit::program::Program;
use export_testkit::wrong_clock::WrongClock;
use mongodb::Client;

#[tokio::test(flavor = "multi_thread")]
async fn a_mongod_keeps_what_it_acknowledged() {
    let mut mongod = OwnMongod::start().await;
    let client = Client::with_uri_str(mongod.uri()).await.expect("a client");
    let numbers = client.database("test").collection::<bson::Document>("numbers");
    numbers.insert_one(doc! { "_id": 1 }).await.expect("inserted");
    mongod.step_down().await;
    mongod.kill();
    mongod.start_again().await;
    mongod.stop();
    mongod.start_again().await;
    assert_eq!(numbers.count_documents(doc! {}).await.expect("counted"), 1);
}

#[test]
fn a_rabbitmq_starts_again_where_it_was() {
    let mut rabbitmq = OwnRabbitmq::start(&["consumer_timeout = 5000"]);
    let address = rabbitmq.address();
    rabbitmq.kill();
    assert!(std::net::TcpStream::connect(&address).is_err(), "killed");
    rabbitmq.start_again();
    rabbitmq.freeze();
    rabbitmq.thaw();
    rabbitmq.stop();
    rabbitmq.start_again();
    assert_eq!(rabbitmq.address(), address);
}

/// Nothing of a node is left when it is dropped, not even its name server (`epmd`).
#[test]
fn a_dropped_rabbitmq_leaves_no_process() {
    let rabbitmq = OwnRabbitmq::start(&[]);
    let marker = rabbitmq.folder().to_string_lossy().into_owned();
    assert!(processes_with(&marker) > 0);
    drop(rabbitmq);
    let given_up_at = Instant::now() + Duration::from_secs(10);
    while processes_with(&marker) > 0 {
        assert!(Instant::now() < given_up_at, "processes of {marker} are left");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes with this text in their environment, except this one.
fn processes_with(text: &str) -> usize {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
    let others = entries.map(|entry| entry.path()).filter(|path| !path.ends_with(&own));
    others.filter(|path| has_in_environment(path, text)).count()
}

fn has_in_environment(process: &Path, text: &str) -> bool {
    let environment = std::fs::read(process.join("environ")).unwrap_or_default();
    String::from_utf8_lossy(&environment).contains(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_disk_is_soon_full() {
    let s3 = OwnS3::on_disk_of(2 << 20);
    let (key_id, secret) = s3.credentials();
    let client = s3_client(&s3.endpoint_url(), key_id, secret);
    client.create_bucket().bucket("small").send().await.expect("a bucket");
    let put = |key: &str, bytes: usize| {
        client.put_object().bucket("small").key(key).body(vec![7; bytes].into()).send()
    };
    put("fits", 1 << 20).await.expect("it fits");
    let error = put("too-large", 2 << 20).await.expect_err("the disk is full").into_service_error();
    assert_eq!(error.meta().code(), Some("InternalError"), "{error:?}");
}

fn shell(script: &str) -> Program {
    Program::new("/bin/sh", &["-c", script], &[("PATH", "/usr/bin:/bin")])
}

#[test]
fn a_program_beyond_its_memory_is_killed() {
    let group = MemoryGroup::limited_to(64 << 20);
    let within = |megabytes: u32| {
        shell(&format!("exec head --bytes={megabytes}M /dev/zero | tail --bytes={megabytes}M | wc --bytes"))
            .within(&group)
            .run()
            .output
    };
    assert_eq!(within(16).trim(), (16 << 20).to_string());
    assert_ne!(within(256).trim(), (256 << 20).to_string());
    assert!(group.peak_bytes() > 32 << 20, "{}", group.peak_bytes());
}

#[test]
fn a_wrong_clock_is_wrong_for_one_program_only() {
    for offset in [3_600, -3_600] {
        let clock = WrongClock::ahead_by(offset);
        let output = clock.applied_to(shell("date +%s; exec sleep 0.2")).run();
        assert!(output.took >= Duration::from_millis(200), "waiting is not shifted: {:?}", output.took);
        let told: i64 = output.output.trim().parse().expect("a time");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let now = i64::try_from(now.as_secs()).expect("in range");
        assert!((told - now - offset).abs() < 60, "{told} {now} {offset}");
    }
}

#[test]
fn frozen_thawed_and_killed() {
    let mut running = shell("while :; do echo tick; sleep 0.01; done").start();
    running.until_written("tick\ntick\n");
    running.freeze();
    let ticks = running.output().len();
    running.thaw();
    let given_up_at = Instant::now() + Duration::from_secs(20);
    while running.output().len() < ticks + 200 {
        assert!(Instant::now() < given_up_at, "it does not go on");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(running.kill().code, None);
}
