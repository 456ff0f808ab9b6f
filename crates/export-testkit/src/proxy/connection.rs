//! One connection through a proxy.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::rule::{Direction, HttpAnswer};
use super::table::{ConnectionId, Table, Verdict};

/// Maximum number of bytes per read.
const PIECE_BYTES: usize = 64 << 10;
/// Maximum number of held bytes; beyond it the sender has to wait.
const HELD_BYTES: usize = 16 << 20;
/// A throttled connection gets the bytes of a twentieth of a second at a time.
const SHARES_PER_SECOND: u32 = 20;
/// How long a client may take to read an injected answer and close the connection.
const HANG_UP: Duration = Duration::from_secs(5);
/// The beginning of an answer without information.
const CONTINUE: &[u8] = b"HTTP/1.1 100";

/// How a connection ends.
enum End {
    Close,
    Reset,
}

/// Both ends of one direction.
struct Pump {
    table: Arc<Table>,
    connection: ConnectionId,
    direction: Direction,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
}

/// Forwards a connection until one side or a rule ends it, or all are cut.
pub(super) async fn serve(inbound: TcpStream, target: String, table: Arc<Table>) {
    let mut gate = table.gate();
    let entered = *gate.borrow_and_update();
    let connection = table.new_connection();
    if entered.is_open {
        tokio::select! {
            _ = gate.wait_for(|gate| gate.cuts > entered.cuts) => {}
            _ = forward(inbound, target, &table, connection) => {}
        }
    }
    table.forget(connection);
}

async fn forward(
    inbound: TcpStream,
    target: String,
    table: &Arc<Table>,
    connection: ConnectionId,
) -> io::Result<()> {
    let _ = inbound.set_nodelay(true);
    let (mut from_client, to_client) = inbound.into_split();
    let mut first = Vec::new();
    if !held(table, &mut from_client, &mut first, || table.is_silent()).await? {
        return Ok(());
    }
    let outbound = TcpStream::connect(target).await?;
    outbound.set_nodelay(true)?;
    let (from_server, to_server) = outbound.into_split();
    let pump = |direction, from, to| Pump { table: Arc::clone(table), connection, direction, from, to };
    let mut requests = pump(Direction::Requests, from_client, to_server);
    let mut answers = pump(Direction::Answers, from_server, to_client);
    let ended = tokio::select! {
        ended = requests.run(first) => Some((Direction::Requests, ended)),
        ended = answers.run(Vec::new()) => Some((Direction::Answers, ended)),
    };
    match ended {
        Some((_, Ok((End::Reset, _)))) => {
            requests.from.as_ref().set_zero_linger()?;
            requests.to.as_ref().set_zero_linger()?;
            // Dropped normally, they would be closed with a FIN first.
            requests.to.forget();
            answers.to.forget();
        }
        Some((_, Ok((End::Close, Some((answer, unread)))))) => {
            reply(&mut requests.from, &mut answers.to, &answer, unread).await?;
        }
        _ => {}
    }
    Ok(())
}

impl Pump {
    /// Forwards bytes, beginning with `piece`. If a rule ends the connection with an answer,
    /// returns it and the unread bytes of its request.
    async fn run(&mut self, mut piece: Vec<u8>) -> io::Result<(End, Option<(HttpAnswer, usize)>)> {
        let mut buffer = vec![0; PIECE_BYTES];
        let (table, connection, direction) = (Arc::clone(&self.table), self.connection, self.direction);
        let is_held = || table.is_held(connection, direction);
        loop {
            if piece.is_empty() {
                let length = self.from.read(&mut buffer).await?;
                piece.extend_from_slice(&buffer[..length]);
                if length == 0 {
                    if direction == Direction::Answers {
                        // A close by the server also has to be noticed.
                        table.until(|| !is_held()).await;
                    }
                    return Ok((End::Close, None));
                }
            }
            if direction == Direction::Requests || !piece.starts_with(CONTINUE) {
                match table.inspect(connection, direction, &piece) {
                    Verdict::Pass => {}
                    Verdict::Close => return Ok((End::Close, None)),
                    Verdict::Reset => return Ok((End::Reset, None)),
                    Verdict::Answer(answer) => {
                        let unread = unread_bytes(&piece);
                        return Ok((End::Close, Some((answer, unread))));
                    }
                }
            }
            if !held(&table, &mut self.from, &mut piece, is_held).await? {
                if direction == Direction::Answers {
                    table.until(|| !is_held()).await;
                    self.pass(&piece).await?;
                }
                return Ok((End::Close, None));
            }
            self.pass(&piece).await?;
            piece.clear();
        }
    }

    async fn pass(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut rest = piece;
        while !rest.is_empty() {
            let (delay, rate) = self.table.pace(self.connection, self.direction);
            let share = rate.map_or(rest.len(), |rate| {
                usize::try_from(rate / u64::from(SHARES_PER_SECOND)).unwrap_or(usize::MAX).max(1)
            });
            let (now, later) = rest.split_at(share.min(rest.len()));
            let pause = rate.map_or(Duration::ZERO, |_| Duration::from_secs(1) / SHARES_PER_SECOND);
            let wait = delay + pause;
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            self.to.write_all(now).await?;
            rest = later;
        }
        Ok(())
    }
}

/// Waits while bytes are held, and keeps reading. `false` when their sender has closed the
/// connection meanwhile.
async fn held(
    table: &Table,
    from: &mut OwnedReadHalf,
    piece: &mut Vec<u8>,
    is_held: impl Fn() -> bool,
) -> io::Result<bool> {
    let mut changes = table.changes();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        changes.borrow_and_update();
        if !is_held() {
            return Ok(true);
        }
        tokio::select! {
            _ = changes.changed() => {}
            read = from.read(&mut buffer), if piece.len() < HELD_BYTES => match read? {
                0 => return Ok(false),
                length => piece.extend_from_slice(&buffer[..length]),
            },
        }
    }
}

/// The unread part of a request's body.
fn unread_bytes(piece: &[u8]) -> usize {
    let Some(head_end) = piece.windows(4).position(|window| window == b"\r\n\r\n") else { return 0 };
    let head = String::from_utf8_lossy(&piece[..head_end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse::<usize>().ok()).unwrap_or(0);
    length.saturating_sub(piece.len() - head_end - 4)
}

/// Reads the rest of a request and answers it instead of the server.
async fn reply(
    from_client: &mut OwnedReadHalf,
    to_client: &mut OwnedWriteHalf,
    answer: &HttpAnswer,
    mut unread: usize,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    while unread > 0 {
        match from_client.read(&mut buffer).await? {
            0 => return Ok(()),
            length => unread = unread.saturating_sub(length),
        }
    }
    to_client.write_all(&answer.bytes()).await?;
    to_client.shutdown().await?;
    // After an immediate close, further bytes of the client would be answered with a reset, which
    // can overtake the answer.
    let hang_up = async { while from_client.read(&mut buffer).await.is_ok_and(|length| length > 0) {} };
    let _ = tokio::time::timeout(HANG_UP, hang_up).await;
    Ok(())
}
