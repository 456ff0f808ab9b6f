//! `exports keys` on real services, and an API that accepts the created keys: with the users' least
//! privileges, as in a deployment.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use export_testkit::isolation::TestSpace;
use export_testkit::program::{Ended, Program};
use serde_json::Value;

use crate::identities::deployment::Deployment;
use crate::space::EXPORTS;

/// Longest time that a revoked key may still work, as documented.
const PROMISED: Duration = Duration::from_secs(30);

/// `exports keys` as an administrator.
fn keys(space: &TestSpace, arguments: &[&str]) -> Ended {
    Program::new(EXPORTS, &[&["keys"], arguments].concat(), &[])
        .with("MONGODB_URI", &space.services.mongodb_uri)
        .with("JOBS_DATABASE", &space.jobs_database)
        .run()
}

/// The line of the output that contains the key.
fn key_in(ended: &Ended) -> String {
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let mut lines = ended
        .output
        .lines()
        .filter(|line| line.strip_prefix("vxk_").is_some_and(|rest| rest.len() == 81 && !rest.contains(' ')));
    let key = lines.next().unwrap_or_else(|| panic!("no key: {}", ended.output)).to_owned();
    assert_eq!(lines.next(), None, "{}", ended.output);
    key
}

fn id_of(key: &str) -> &str {
    key.rsplit_once('_').expect("a key").0
}

fn listed(space: &TestSpace, arguments: &[&str]) -> Vec<Value> {
    let ended = keys(space, &[&["list", "--json"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    serde_json::from_str(&ended.output).unwrap_or_else(|error| panic!("{error}: {}", ended.output))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_created_listed_and_revoked() {
    let space = TestSpace::create().await;
    let empty = keys(&space, &["list"]);
    assert!(empty.code == Some(0) && empty.output.contains("exports keys create"), "{}", empty.output);

    let key = key_in(&keys(&space, &["create", "--tenant", "acme", "--all-vehicles"]));
    let flags = ["--name", "the dashboard", "--scope", " export:read", "--vehicle", "bus_*, tram_7"];
    let made =
        keys(&space, &[&["create", "--tenant", "other", "--expires-in-days", "30"][..], &flags].concat());
    let other = key_in(&made);
    assert!(made.output.contains("bus_* tram_7") && made.output.contains(id_of(&other)), "{}", made.output);
    let until = key_in(&keys(
        &space,
        &["create", "--tenant", "acme", "--all-vehicles", "--expires-at", "2999-01-31", "--scope", "admin"],
    ));

    let all = listed(&space, &[]);
    assert_eq!(all.len(), 3);
    let of_other = &listed(&space, &["--tenant", "other"])[0];
    assert_eq!(of_other["id"], id_of(&other));
    assert_eq!((&of_other["name"], &of_other["state"]), (&"the dashboard".into(), &"active".into()));
    assert_eq!(of_other["scopes"], serde_json::json!(["export:read"]));
    assert_eq!(of_other["vehicles"], serde_json::json!(["bus_*", "tram_7"]));
    assert!(of_other["expiresAt"].is_string());
    let found =
        |id: &str| all.iter().find(|key| key["id"] == id).unwrap_or_else(|| panic!("{id}: {all:?}")).clone();
    assert_eq!(found(id_of(&key))["scopes"], serde_json::json!(["export:read", "export:write"]));
    assert_eq!(found(id_of(&key))["vehicles"], Value::Null);
    assert_eq!(found(id_of(&until))["expiresAt"], "2999-01-31T00:00:00Z");

    let revoked = keys(&space, &["revoke", id_of(&key)]);
    assert_eq!(revoked.code, Some(0), "{}", revoked.output);
    // A leaked key can be revoked without knowing its id.
    let by_key = keys(&space, &["revoke", &until]);
    assert!(by_key.code == Some(0) && !by_key.output.contains(&until), "{}", by_key.output);
    let table = keys(&space, &["list", "--tenant", "acme"]).output;
    assert_eq!(table.lines().filter(|line| line.contains("revoked")).count(), 2, "{table}");
    for key in [&key, &other, &until] {
        let secret = key.rsplit_once('_').expect("a key").1;
        assert!(!table.contains(secret) && !format!("{all:?}").contains(secret));
    }

    let audit = space.mongodb.database(&space.jobs_database).collection::<Document>("audit");
    for (action, count) in [("key.create", 3), ("key.revoke", 2)] {
        let noted = audit.count_documents(doc! { "action": action, "principal": "cli" }).await;
        assert_eq!(noted.expect("a count"), count, "{action}");
    }
    space.cleanup().await;
}

/// A key ends by itself, unless the operator says otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn d6_a_key_lasts_a_year_unless_its_flags_say_otherwise() {
    let space = TestSpace::create().await;
    let made = |flags: &[&str]| {
        let ended = keys(&space, &[&["create", "--tenant", "acme", "--all-vehicles"], flags].concat());
        let key = key_in(&ended);
        let key = listed(&space, &[]).into_iter().find(|one| one["id"] == id_of(&key)).expect("listed");
        (key, ended.output)
    };
    let days = |key: &Value| {
        let time = |name: &str| key[name].as_str().expect("a time").parse::<chrono::DateTime<chrono::Utc>>();
        (time("expiresAt").expect("a time") - time("createdAt").expect("a time")).num_days()
    };
    assert_eq!(days(&made(&[]).0), 365);
    assert_eq!(days(&made(&["--expires-in-days", "1"]).0), 1);
    let (forever, output) = made(&["--never-expires"]);
    assert_eq!(forever["expiresAt"], Value::Null);
    assert!(output.contains("until it is revoked"), "{output}");
    space.cleanup().await;
}

/// `exports tenants` as an administrator.
fn tenants(space: &TestSpace, arguments: &[&str]) -> Ended {
    Program::new(EXPORTS, &[&["tenants"], arguments].concat(), &[])
        .with("MONGODB_URI", &space.services.mongodb_uri)
        .with("JOBS_DATABASE", &space.jobs_database)
        .run()
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_ceilings_of_tenants_are_set_listed_and_audited() {
    let space = TestSpace::create().await;
    let empty = tenants(&space, &["list"]);
    assert!(empty.code == Some(0) && empty.output.contains("exports tenants limit"), "{}", empty.output);
    for (arguments, seen) in [
        (&["limit", "acme", "--vehicle", " acme_*,bus_7 "][..], "acme_* bus_7"),
        (&["limit", "other", "--all-vehicles"], "all"),
        (&["limit", "acme", "--vehicle", "acme_*"], "acme_*"),
    ] {
        let set = tenants(&space, arguments);
        let line = format!("may see: {seen}\n");
        assert!(set.code == Some(0) && set.output.contains(&line), "{}", set.output);
        assert!(set.output.contains("within 30 seconds"), "{}", set.output);
    }
    let listed = tenants(&space, &["list", "--json"]).output;
    let listed: Value = serde_json::from_str(&listed).unwrap_or_else(|error| panic!("{error}: {listed}"));
    let found: Vec<_> =
        listed.as_array().expect("a list").iter().map(|one| (&one["tenant"], &one["vehicles"])).collect();
    let (acme, other) = (serde_json::json!("acme"), serde_json::json!("other"));
    assert_eq!(found, [(&acme, &serde_json::json!(["acme_*"])), (&other, &Value::Null)]);
    let table = tenants(&space, &["list"]).output;
    assert_eq!(table.lines().count(), 3, "{table}");
    let audit = space.mongodb.database(&space.jobs_database).collection::<Document>("audit");
    let noted =
        audit.count_documents(doc! { "action": "tenant.limit", "principal": "cli", "tenant": "acme" });
    assert_eq!(noted.await.expect("a count"), 2);
    space.cleanup().await;

    let many: Vec<String> = (0..101).map(|number| format!("v{number}")).collect();
    for (arguments, words) in [
        (vec!["limit", "acme"], "say which vehicles the tenant may see"),
        (vec!["limit", "No Tenant", "--all-vehicles"], "not a tenant name"),
        (vec!["limit", "--all-vehicles"], "TENANT"),
        (vec!["limit", "acme", "--vehicle", "a b"], "not a pattern"),
        (vec!["limit", "acme", "--vehicle", &many.join(",")], "at most 100 patterns"),
    ] {
        // No server listens there: the arguments are checked before any connection.
        let ended = Program::new(EXPORTS, &[vec!["tenants"], arguments.clone()].concat(), &[])
            .with("MONGODB_URI", "mongodb://127.0.0.1:1/?replicaSet=rs0")
            .run();
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.output);
        assert!(ended.output.contains(words), "{arguments:?}: {}", ended.output);
    }
}

#[test]
fn mistakes_are_reported_and_nothing_is_created() {
    let wrong: [(&[&str], i32, &str); 21] = [
        // All vehicles are never granted by leaving a flag out.
        (&["create", "--tenant", "a"], 2, "or give --all-vehicles"),
        (&["create", "--tenant", "a", "--vehicle", "b", "--all-vehicles"], 2, "--all-vehicles"),
        // What an intersection of two patterns looks like in the store.
        (&["create", "--tenant", "a", "--vehicle", "a*/*b"], 2, "not a pattern"),
        (&["create", "--tenant", "a", "--never-expires", "--expires-in-days", "1"], 2, "--never-expires"),
        (&["create", "--tenant", "a", "--never-expires", "--expires-at", "2999-01-31"], 2, "--never-expires"),
        (
            &["create", "--tenant", "a", "--expires-in-days", "36501", "--all-vehicles"],
            2,
            "--expires-in-days",
        ),
        (&["create"], 2, "--tenant"),
        (&["create", "--tenant", "No Tenant"], 2, "not a tenant name"),
        (&["create", "--tenant", "a", "--scope", "export:all"], 2, "export:read, export:write or admin"),
        (&["create", "--tenant", "a", "--scope", ""], 2, "--scope"),
        (&["create", "--tenant", "a", "--scope", "admin,"], 2, "--scope"),
        (&["create", "--tenant", "a", "--vehicle", "a b"], 2, "not a pattern"),
        (&["create", "--tenant", "a", "--vehicle", ""], 2, "not a pattern"),
        (&["create", "--tenant", "a", "--vehicle", "bus_*, "], 2, "not a pattern"),
        (&["create", "--tenant", "a", "--expires-at", "31.01.2999"], 2, "did you mean 2999-01-31?"),
        (&["create", "--tenant", "a", "--expires-in-days", "0"], 2, "--expires-in-days"),
        (&["create", "--tenant", "a", "--expires-at", "tomorrow"], 2, "write the date itself"),
        (&["create", "--tenant", "a", "--all-vehicles", "--expires-at", "2018-11-30"], 2, "in the future"),
        (
            &["create", "--tenant", "a", "--expires-in-days", "1", "--expires-at", "2999-01-31"],
            2,
            "--expires-at",
        ),
        (&["create", "--tenant", "a", "--name", "a\nb"], 2, "one line"),
        (&["revoke", "hunter2"], 2, "16 hexadecimal digits"),
    ];
    for (arguments, code, words) in wrong {
        // No server listens there: the arguments are checked before any connection.
        let ended = Program::new(EXPORTS, &[&["keys"], arguments].concat(), &[])
            .with("MONGODB_URI", "mongodb://127.0.0.1:1/?replicaSet=rs0")
            .run();
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.output);
        assert!(ended.output.contains(words), "{arguments:?}: {}", ended.output);
        assert!(!ended.output.contains("hunter2"), "{}", ended.output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_cannot_be_revoked() {
    let space = TestSpace::create().await;
    let ended = keys(&space, &["revoke", "vxk_0123456789abcdef"]);
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(ended.output.contains("exports keys list"), "{}", ended.output);
    space.cleanup().await;
}

/// The API of a deployment, with its own users.
fn api(deployment: &Deployment) -> Program {
    let folder = std::env::var("TEST_PROGRAMS_DIR").expect("TEST_PROGRAMS_DIR: run with `cargo xtask test`");
    let space = &deployment.space;
    Program::new(&format!("{folder}/exports-api"), &[], &[])
        .with("PORT", "0")
        .with("ADMIN_ADDR", "127.0.0.1:0")
        .with("MONGODB_URI", &deployment.mongodb_uri("api", &deployment.password))
        .with("JOBS_DATABASE", &space.jobs_database)
        .with("RABBITMQ_URL", &deployment.rabbitmq_url("api", &deployment.password))
        .with("S3_BUCKET", &space.bucket)
        .with("S3_FORCE_PATH_STYLE", "true")
        .with("AWS_REGION", "us-east-1")
        .with("AWS_ENDPOINT_URL_S3", &space.services.s3_endpoint_url)
        .with("AWS_ACCESS_KEY_ID", &space.services.s3_access_key_id)
        .with("AWS_SECRET_ACCESS_KEY", &space.services.s3_secret_access_key)
        .with("LOG_FORMAT", "json")
        .with("LOG_LEVEL", "trace,hyper=info,mongodb=info")
}

/// Status of a request with this key.
fn status(url: &str, key: &str, body: Option<&str>) -> u16 {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into();
    let bearer = format!("Bearer {key}");
    let answer = match body {
        Some(body) => agent
            .post(format!("{url}/export"))
            .header("authorization", &bearer)
            .header("content-type", "application/json")
            .send(body),
        None => agent
            .get(format!("{url}/export/01983c5e-7a01-7c3a-9d5e-0123456789ab"))
            .header("authorization", &bearer)
            .call(),
    };
    answer.expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_accepts_keys_until_they_are_revoked_and_logs_how_to_create_one() {
    let deployment = Deployment::create().await;
    let space = &deployment.space;
    let mut running = api(&deployment).start();
    running.until_written("exports keys create");
    running.until_written("listening");
    let output = running.output();
    let (_, address) = output.split_once("\"address\":\"").expect("an address");
    let url = format!("http://{}", address.split('"').next().expect("an address"));

    let key = key_in(&keys(space, &["create", "--tenant", "acme", "--all-vehicles"]));
    assert_eq!(status(&url, &key, None), 404);
    let body = r#"{"startDate":"2018-11-30","endDate":"2018-12-01"}"#;
    assert_eq!(status(&url, &key, Some(body)), 202);
    let audit = space.mongodb.database(&space.jobs_database).collection::<Document>("audit");
    let noted = audit.count_documents(doc! { "action": "export.create", "principal": id_of(&key) }).await;
    assert_eq!(noted.expect("a count"), 1, "{}", running.output());

    assert_eq!(keys(space, &["revoke", id_of(&key)]).code, Some(0));
    let revoked_at = Instant::now();
    while status(&url, &key, None) != 401 {
        assert!(revoked_at.elapsed() < PROMISED, "the key is still good");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ended = running.terminate();
    let secret = key.rsplit_once('_').expect("a key").1;
    assert!(ended.output.contains(id_of(&key)), "who called is in the log");
    assert!(!ended.output.contains(secret) && !ended.output.contains("hunter2"), "no secret is");
    deployment.cleanup().await;
}
