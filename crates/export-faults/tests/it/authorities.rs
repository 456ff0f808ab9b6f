//! Services whose certificates come from a private authority: every connection of the programs
//! trusts it if told so, and says what is wrong if not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use export_faults::{Deployment, Fleet, TlsLinks, key_of};
use export_testkit::program::{Ended, Program, assert_refuses};
use export_testkit::tls::{Authority, TlsListener};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
/// What each log and each error says of a certificate that is not accepted.
const CERTIFICATE: &str = "invalid peer certificate";
/// A proxy that does not exist: no program listens on port 1.
const NO_PROXY: &str = "http://127.0.0.1:1";

async fn run(program: Program) -> Ended {
    tokio::task::spawn_blocking(move || program.run()).await.expect("it ends")
}

fn with(program: Program, settings: &[(&str, String)]) -> Program {
    settings.iter().fold(program, |program, (name, value)| program.with(name, value))
}

/// `exports provision` with these settings instead of those of the deployment.
async fn provision(deployment: &Deployment, settings: &[(&str, String)]) -> Ended {
    let links = deployment.links().await;
    // As at the start of the deployment, so that its queue is what it was.
    let program = deployment.program("exports", &["provision"], &links).with("RETRY_REST_MS", "200");
    run(with(program, settings)).await
}

/// A command of the command line that calls the API at `url`.
async fn client(
    deployment: &Deployment,
    url: &str,
    arguments: &[&str],
    settings: &[(&str, String)],
) -> Ended {
    let links = deployment.links().await;
    let program = deployment.program("exports", arguments, &links).with("EXPORTS_API_URL", url);
    run(with(program, settings)).await
}

fn assert_is_untrusted(what: &str, ended: &Ended) {
    assert!(ended.code.is_some_and(|code| code != 0), "{what}: {}", ended.output);
    assert!(ended.output.contains(CERTIFICATE), "{what} does not name the certificate: {}", ended.output);
}

/// Runs `exports provision`, which must end with the certificate as the reason, and not wait for it
/// as it waits for a server that is not there yet.
async fn assert_provision_refuses(deployment: &Deployment, settings: &[(&str, String)]) -> Ended {
    let ended = provision(deployment, settings).await;
    let name = settings[0].0;
    assert_is_untrusted(&format!("exports provision with {name}"), &ended);
    assert!(ended.output.contains("its certificate is not accepted"), "{name}: {}", ended.output);
    ended
}

/// From `exports provision` to the downloaded file, with nothing but TLS, and a proxy in the
/// environment that does not exist: services do not use it.
#[tokio::test(flavor = "multi_thread")]
async fn d8_every_connection_trusts_a_private_authority() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let authority = Authority::create();
    let secure = TlsLinks::to(&deployment.space.services, &authority).await;
    let trusting = (SSL_CERT_FILE, authority.file());
    let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].map(|name| (name, NO_PROXY.to_owned()));
    let settings = [&secure.settings()[..], std::slice::from_ref(&trusting), &proxies].concat();

    let user = format!("d8-{}", deployment.space.id);
    let ended = provision(&deployment, &[&settings[..], &secure.rabbitmq_users(&user)].concat()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(ended.output.contains(&format!("RabbitMQ user {user} is ready")), "{}", ended.output);

    let start = |deployment| {
        settings.iter().fold(Deployment::hasty(deployment), |start, (name, value)| start.with(name, value))
    };
    let api = start(&deployment).api().await;
    let worker = start(&deployment).worker().await;
    let front = TlsListener::start(&authority, api.url().trim_start_matches("http://").to_owned()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("day.zip").to_string_lossy().into_owned();
    let day = [("--from", "startDate"), ("--to", "endDate")]
        .map(|(flag, name)| (flag, fleet.body[name].as_str().expect("a date")));
    let [(from, start_date), (to, end_date)] = day;
    let url = format!("https://{}", front.address());
    let create = ["create", from, start_date, to, end_date, "--wait", "--download", &path];
    let ended = client(&deployment, &url, &create, std::slice::from_ref(&trusting)).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let jobs = deployment.all_jobs().await;
    let job = fleet.exported(&deployment, jobs[0].get_str("_id").expect("an id")).await;
    let stored = deployment.space.object(&key_of(&job)).await;
    assert!(std::fs::read(&path).expect("the file") == stored, "the downloaded file is the stored one");
    assert_eq!(api.links.mongodb.connections() + worker.links.mongodb.connections(), 0, "only over TLS");
    drop((api, worker));
    deployment.end().await;
}

/// Each connection alone, and by each program that makes it.
#[tokio::test(flavor = "multi_thread")]
async fn d8_an_unknown_authority_is_named_by_every_connection() {
    let deployment = Deployment::start().await;
    let (authority, other) = (Authority::create(), Authority::create());
    let secure = TlsLinks::to(&deployment.space.services, &authority).await;
    // Not the authorities of the system, which may have none.
    let trusting_other = (SSL_CERT_FILE, other.file());
    for setting in secure.settings() {
        assert_provision_refuses(&deployment, &[setting, trusting_other.clone()]).await;
    }
    let [management, (_, api_url)] = secure.rabbitmq_users(&format!("d8-{}", deployment.space.id));
    let api_url = ("API_RABBITMQ_URL", api_url.replacen("amqps://", "amqp://", 1));
    assert_provision_refuses(&deployment, &[management, api_url, trusting_other.clone()]).await;

    let [mongodb, rabbitmq, s3] = secure.settings();
    let start = |(name, value): &(&str, String)| {
        deployment.with(name, value).with(trusting_other.0, &trusting_other.1)
    };
    for (part, setting) in [("mongodb", &mongodb), ("rabbitmq", &rabbitmq)] {
        let mut api = start(setting).api().await;
        let named = || async {
            let reason = api.readiness().await.json()["reasons"][part].to_string();
            reason.contains(CERTIFICATE)
        };
        deployment.until_so(&format!("the readiness names the certificate of {part}"), named).await;
        api.until_written(CERTIFICATE);
    }
    let source = ("SOURCE_MONGODB_URI", mongodb.1.clone());
    for setting in [&mongodb, &source, &rabbitmq, &s3] {
        start(setting).worker().await.until_written(CERTIFICATE);
    }

    let fleet = Fleet::odd(&deployment).await;
    // Only the links lead to the untrusted listener.
    let api = deployment.with("S3_PUBLIC_ENDPOINT_URL", &s3.1).api().await;
    let worker = deployment.worker().await;
    let job_id = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &job_id).await;
    let trusting_other = [trusting_other];
    let front = TlsListener::start(&authority, api.url().trim_start_matches("http://").to_owned()).await;
    let ended =
        client(&deployment, &format!("https://{}", front.address()), &["list"], &trusting_other).await;
    assert_is_untrusted("exports list", &ended);
    assert!(ended.output.contains(SSL_CERT_FILE), "it says what helps: {}", ended.output);
    assert!(!ended.output.contains("retrying"), "a retry cannot help: {}", ended.output);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("day.zip").to_string_lossy().into_owned();
    let download = ["download", &job_id, "--output", &path];
    let ended = client(&deployment, &api.url(), &download, &trusting_other).await;
    assert_is_untrusted("exports download", &ended);
    assert!(!ended.output.contains("retrying"), "a retry cannot help: {}", ended.output);
    drop((api, worker));
    deployment.end().await;
}

/// A trusted authority is not enough: the certificate must be that of the server that was asked.
#[tokio::test(flavor = "multi_thread")]
async fn d8_a_certificate_for_another_name_is_refused() {
    let deployment = Deployment::start().await;
    let authority = Authority::create();
    let secure = TlsLinks::to_as(&deployment.space.services, &authority, "elsewhere.test").await;
    for setting in secure.settings() {
        let name = setting.0;
        let ended =
            assert_provision_refuses(&deployment, &[setting, (SSL_CERT_FILE, authority.file())]).await;
        assert!(ended.output.contains("elsewhere.test"), "{name} names the other server: {}", ended.output);
    }
    deployment.end().await;
}

/// MongoDB's own option, for a server with another authority than the rest.
#[tokio::test(flavor = "multi_thread")]
async fn d8_a_connection_string_may_name_its_own_authority() {
    let deployment = Deployment::start().await;
    let (authority, other) = (Authority::create(), Authority::create());
    let secure = TlsLinks::to(&deployment.space.services, &authority).await;
    let uri_with = |file: &str| ("MONGODB_URI", format!("{}&tlsCAFile={file}", secure.mongodb_uri()));
    let trusting = |authority: &Authority| (SSL_CERT_FILE, authority.file());
    let ended = provision(&deployment, &[uri_with(&authority.file()), trusting(&other)]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert_provision_refuses(&deployment, &[uri_with(&other.file()), trusting(&authority)]).await;
    let ended = provision(&deployment, &[uri_with("/nowhere/authority.pem")]).await;
    assert!(ended.code.is_some_and(|code| code != 0), "{}", ended.output);
    assert!(ended.output.contains("TLS settings") && ended.output.contains("/nowhere"), "{}", ended.output);
    deployment.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d8_a_file_without_certificates_stops_every_program() {
    let deployment = Deployment::start().await;
    let authority = Authority::create();
    let links = deployment.links().await;
    let wrong = [
        "/nowhere/authority.pem".to_owned(),
        String::new(),
        authority.file_with("key.pem", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"),
    ];
    let programs: [(&str, &[&str]); 4] =
        [("exports-api", &[]), ("exports-worker", &[]), ("exports", &["provision"]), ("exports", &["list"])];
    for (program, arguments) in programs {
        for file in &wrong {
            let program = deployment.program(program, arguments, &links).with(SSL_CERT_FILE, file);
            tokio::task::spawn_blocking(move || assert_refuses(&program, SSL_CERT_FILE))
                .await
                .expect("refused");
        }
    }
    deployment.end().await;
}

/// The command line goes through the proxy of the environment, to the API and to the links.
#[tokio::test(flavor = "multi_thread")]
async fn d8_the_command_line_uses_the_proxy_of_the_environment() {
    let deployment = Deployment::start().await;
    let fleet = Fleet::odd(&deployment).await;
    let authority = Authority::create();
    let secure = TlsLinks::to(&deployment.space.services, &authority).await;
    let api = deployment.with("S3_PUBLIC_ENDPOINT_URL", &secure.s3_endpoint_url()).api().await;
    let worker = deployment.worker().await;
    let job_id = api.accepted(&fleet.body).await;
    fleet.exported(&deployment, &job_id).await;
    let front = TlsListener::start(&authority, api.url().trim_start_matches("http://").to_owned()).await;
    let url = format!("https://{}", front.address());
    let (proxy, tunnels) = start_proxy().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("day.zip").to_string_lossy().into_owned();
    let download = ["download", job_id.as_str(), "--output", &path, "--force"];

    let trusting = (SSL_CERT_FILE, authority.file());
    let through = [trusting, ("HTTPS_PROXY", format!("http://{proxy}"))];
    let ended = client(&deployment, &url, &download, &through).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let used = tunnels.load(Ordering::Relaxed);
    assert!(used >= 2, "the API and the link were reached by {used} tunnels");

    let around = [&through[..], &[("NO_PROXY", "127.0.0.1".to_owned())]].concat();
    let ended = client(&deployment, &url, &download, &around).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert_eq!(tunnels.load(Ordering::Relaxed), used, "NO_PROXY names the host");
    drop((api, worker));
    deployment.end().await;
}

/// An HTTP proxy that opens tunnels (`CONNECT`) and counts them.
async fn start_proxy() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let tunnels = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tunnels);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(tunnel(client, Arc::clone(&counted)));
        }
    });
    (address, tunnels)
}

async fn tunnel(mut client: TcpStream, tunnels: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.strip_prefix("CONNECT ").and_then(|head| head.split(' ').next());
    let mut server = TcpStream::connect(target.unwrap_or_default()).await?;
    tunnels.fetch_add(1, Ordering::Relaxed);
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
