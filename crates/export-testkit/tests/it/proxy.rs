//! What each fault of the proxy does to the two sides.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use export_testkit::proxy::{Direction, Fault, Pattern, Proxy, Rule};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Long enough for anything on the loopback.
const SOON: Duration = Duration::from_secs(20);

/// A server that reports what it receives and answers each piece with `ok:` and the piece, and a
/// proxy in front of it.
async fn echo() -> (Proxy, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (heard, hearing) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 20];
                while let Ok(length) = stream.read(&mut buffer).await
                    && length > 0
                {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    let _ = heard.send(text.clone());
                    let _ = stream.write_all(format!("ok:{text}").as_bytes()).await;
                }
            });
        }
    });
    (Proxy::start(address).await, hearing)
}

async fn said(stream: &mut TcpStream) -> String {
    let mut buffer = vec![0; 1 << 16];
    let read = tokio::time::timeout(SOON, stream.read(&mut buffer)).await.expect("something is said");
    String::from_utf8_lossy(&buffer[..read.expect("bytes")]).into_owned()
}

async fn client(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.expect("connected")
}

async fn ask(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.expect("sent");
    said(stream).await
}

#[tokio::test]
async fn held_requests_go_on_when_lifted_unless_their_sender_has_gone() {
    let (proxy, mut hearing) = echo().await;
    let hold = proxy.add(Rule::request(Pattern::starting("b"), Fault::Hold(Direction::Requests)));
    let (mut first, mut second) = (client(&proxy).await, client(&proxy).await);
    assert_eq!(ask(&mut first, "a").await, "ok:a");
    first.write_all(b"b1").await.expect("sent");
    second.write_all(b"b2").await.expect("sent");
    hold.until_seen(2).await;
    drop(second);
    // Another connection is free.
    let mut third = client(&proxy).await;
    assert_eq!(ask(&mut third, "c").await, "ok:c");
    hold.lift();
    assert_eq!(said(&mut first).await, "ok:b1");
    assert_eq!(ask(&mut third, "d").await, "ok:d");
    let mut heard = Vec::new();
    while let Ok(text) = hearing.try_recv() {
        heard.push(text);
    }
    assert_eq!(heard, ["a", "c", "b1", "d"]);
}

#[tokio::test]
async fn held_answers_were_given() {
    let (proxy, mut hearing) = echo().await;
    let hold =
        proxy.add(Rule::request(Pattern::any().containing("x"), Fault::Hold(Direction::Answers)).times(1));
    let mut stream = client(&proxy).await;
    stream.write_all(b"axb").await.expect("sent");
    hold.until_answered(1).await;
    assert_eq!(hearing.recv().await.as_deref(), Some("axb"));
    let mut byte = [0];
    assert_eq!(stream.try_read(&mut byte).expect_err("nothing").kind(), ErrorKind::WouldBlock);
    hold.lift();
    assert_eq!(said(&mut stream).await, "ok:axb");
}

#[tokio::test]
async fn answers_can_set_a_rule_off() {
    let (proxy, _hearing) = echo().await;
    let watch = proxy.add(Rule::answer(Pattern::any().containing("ok:2"), Fault::Reset));
    let mut stream = client(&proxy).await;
    assert_eq!(ask(&mut stream, "1").await, "ok:1");
    stream.write_all(b"2").await.expect("sent");
    let ended = tokio::time::timeout(SOON, stream.read(&mut [0; 8])).await.expect("an end");
    assert_eq!(ended.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    watch.until_seen(1).await;
}

#[tokio::test]
async fn a_lost_reply_was_acted_upon() {
    let (proxy, mut hearing) = echo().await;
    let lost = proxy.add(Rule::request(Pattern::starting("go"), Fault::LoseReply).times(1));
    let mut stream = client(&proxy).await;
    stream.write_all(b"go").await.expect("sent");
    let ended = tokio::time::timeout(SOON, stream.read(&mut [0; 8])).await.expect("an end");
    assert_eq!(ended.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    assert_eq!((lost.seen(), lost.answered()), (1, 1));
    assert_eq!(hearing.recv().await.as_deref(), Some("go"));
    assert_eq!(ask(&mut client(&proxy).await, "go").await, "ok:go");
}

#[tokio::test]
async fn injected_answers_come_after_the_whole_request() {
    let (proxy, mut hearing) = echo().await;
    let rule = Rule::request(Pattern::starting("PUT /").containing("part=2"), Fault::slow_down());
    proxy.add(rule.let_through(1).times(1));
    let head = "PUT /a?part=2 HTTP/1.1\r\nContent-Length: 300000\r\n\r\n";
    let mut stream = client(&proxy).await;
    assert!(ask(&mut stream, head).await.starts_with("ok:PUT"));
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&vec![b'x'; 300_000]).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("<Code>SlowDown</Code>"), "{answer}");
    let mut again = client(&proxy).await;
    assert!(ask(&mut again, head).await.starts_with("ok:PUT"), "once only");
    drop((proxy, again, stream));
    hearing.close();
    let mut pieces = 0;
    while hearing.recv().await.is_some() {
        pieces += 1;
    }
    assert_eq!(pieces, 2);
}

#[tokio::test]
async fn silence_accepts_and_says_nothing() {
    let (proxy, _hearing) = echo().await;
    let mut open = client(&proxy).await;
    assert_eq!(ask(&mut open, "a").await, "ok:a");
    let silence = proxy.add(Rule::always(Fault::Silence));
    let mut new = client(&proxy).await;
    open.write_all(b"b").await.expect("sent");
    new.write_all(b"c").await.expect("sent");
    silence.until_seen(1).await;
    for stream in [&open, &new] {
        assert_eq!(stream.try_read(&mut [0]).expect_err("nothing").kind(), ErrorKind::WouldBlock);
    }
    silence.lift();
    assert_eq!(said(&mut open).await, "ok:b");
    assert_eq!(said(&mut new).await, "ok:c");
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn slow_connections() {
    let (proxy, _hearing) = echo().await;
    let mut stream = client(&proxy).await;
    let slow = proxy.add(Rule::always(Fault::Delay(Direction::Answers, Duration::from_millis(150))));
    let asked_at = Instant::now();
    assert_eq!(ask(&mut stream, "a").await, "ok:a");
    assert!(asked_at.elapsed() >= Duration::from_millis(150), "{:?}", asked_at.elapsed());
    slow.lift();
    proxy.add(Rule::always(Fault::Throttle(Direction::Requests, 2_000)));
    let sent_at = Instant::now();
    stream.write_all(&[b'x'; 600]).await.expect("sent");
    let mut answered = 0;
    while answered < 600 {
        answered += said(&mut stream).await.matches('x').count();
    }
    assert!(sent_at.elapsed() >= Duration::from_millis(250), "{:?}", sent_at.elapsed());
}

#[tokio::test]
async fn cut_dropped_and_restored() {
    let (proxy, _hearing) = echo().await;
    let mut stream = client(&proxy).await;
    assert_eq!(ask(&mut stream, "a").await, "ok:a");
    proxy.drop_connections();
    assert_eq!(said(&mut stream).await, "");
    let mut stream = client(&proxy).await;
    assert_eq!(ask(&mut stream, "b").await, "ok:b");
    proxy.cut();
    assert_eq!(said(&mut stream).await, "");
    assert_eq!(said(&mut client(&proxy).await).await, "");
    proxy.restore();
    assert_eq!(ask(&mut client(&proxy).await, "c").await, "ok:c");
    proxy.refuse_after(1, "PUT /");
    let mut stream = client(&proxy).await;
    assert_eq!(ask(&mut stream, "PUT /1").await, "ok:PUT /1");
    assert_eq!(ask(&mut stream, "GET /").await, "ok:GET /");
    assert_eq!(ask(&mut stream, "PUT /2").await, "");
}
