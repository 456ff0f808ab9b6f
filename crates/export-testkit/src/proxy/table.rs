//! The rules of a proxy, and what has become of each.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::rule::{Direction, Fault, HttpAnswer, Rule};

/// Longest wait for something to come by.
const PATIENCE: Duration = Duration::from_secs(90);

/// Names a connection within its proxy.
pub(super) type ConnectionId = usize;

/// All rules, and whether connections are let in at all.
#[derive(Default)]
pub(super) struct Table {
    entries: Mutex<Vec<Entry>>,
    connections: AtomicUsize,
    /// Counts changes of the entries and what came by.
    changed: watch::Sender<u64>,
    gate: watch::Sender<Gate>,
}

/// Whether connections are let in, and how often all were ended.
#[derive(Clone, Copy)]
pub(super) struct Gate {
    pub(super) is_open: bool,
    pub(super) cuts: u64,
}

impl Default for Gate {
    fn default() -> Self {
        Self { is_open: true, cuts: 0 }
    }
}

/// An active rule. It stays in the table after it is lifted, for watches that still refer to it.
struct Entry {
    rule: Rule,
    is_lifted: bool,
    seen: usize,
    answered: usize,
    /// Connections on which it was set off.
    on: BTreeSet<ConnectionId>,
    /// Connections on which the server's answer is awaited.
    awaits: BTreeSet<ConnectionId>,
}

impl Entry {
    fn is_in_force(&self, connection: ConnectionId) -> bool {
        !self.is_lifted && (self.rule.is_for_all || self.on.contains(&connection))
    }
}

/// What to do with bytes that were just read.
pub(super) enum Verdict {
    /// Pass them on, when nothing holds them.
    Pass,
    /// End the connection in good order.
    Close,
    /// Reset it.
    Reset,
    /// Answer in the server's place.
    Answer(HttpAnswer),
}

/// Follows one rule.
#[derive(Clone)]
pub struct Watch {
    table: Arc<Table>,
    index: usize,
}

impl Table {
    pub(super) fn add(table: &Arc<Self>, rule: Rule) -> Watch {
        let mut entries = table.locked();
        entries.push(Entry {
            rule,
            is_lifted: false,
            seen: 0,
            answered: 0,
            on: BTreeSet::new(),
            awaits: BTreeSet::new(),
        });
        let index = entries.len() - 1;
        drop(entries);
        table.note_change();
        Watch { table: Arc::clone(table), index }
    }

    pub(super) fn lift_all(&self) {
        self.locked().iter_mut().for_each(|entry| entry.is_lifted = true);
        self.note_change();
    }

    pub(super) fn set_open(&self, is_open: bool) {
        self.gate.send_modify(|gate| {
            gate.is_open = is_open;
            gate.cuts += u64::from(!is_open);
        });
    }

    pub(super) fn gate(&self) -> watch::Receiver<Gate> {
        self.gate.subscribe()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits until this is so; asked again at every change.
    pub(super) async fn until(&self, is_so: impl Fn() -> bool) {
        // The sender lives as long as the table.
        let _ = self.changes().wait_for(|_| is_so()).await;
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn new_connection(&self) -> ConnectionId {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Sets off the rules that wait for these bytes, and says what becomes of the bytes.
    pub(super) fn inspect(&self, connection: ConnectionId, direction: Direction, bytes: &[u8]) -> Verdict {
        let mut verdict = Verdict::Pass;
        for entry in self.locked().iter_mut().filter(|entry| !entry.is_lifted) {
            let has_answer = direction == Direction::Answers
                && entry.awaits.contains(&connection)
                && entry.rule.answer.matches(bytes);
            if has_answer {
                entry.awaits.remove(&connection);
                entry.answered += 1;
                if matches!(entry.rule.fault, Fault::LoseReply) {
                    verdict = Verdict::Reset;
                }
            }
            if entry.rule.direction != direction || !entry.rule.pattern.matches(bytes) {
                continue;
            }
            entry.seen += 1;
            let number = entry.seen;
            let last = entry.rule.let_through.saturating_add(entry.rule.times);
            if number <= entry.rule.let_through || number > last {
                continue;
            }
            entry.on.insert(connection);
            if direction == Direction::Requests {
                entry.awaits.insert(connection);
            }
            match &entry.rule.fault {
                Fault::Close => verdict = Verdict::Close,
                Fault::Reset => verdict = Verdict::Reset,
                Fault::Answer(answer) => verdict = Verdict::Answer(answer.clone()),
                _ => {}
            }
        }
        self.note_change();
        verdict
    }

    /// Whether bytes of this direction are kept back on this connection.
    pub(super) fn is_held(&self, connection: ConnectionId, direction: Direction) -> bool {
        let entries = self.locked();
        let mut in_force = entries.iter().filter(|entry| entry.is_in_force(connection));
        in_force.any(|entry| entry.rule.fault.holds(direction))
    }

    /// Whether the server is not to hear of new connections.
    pub(super) fn is_silent(&self) -> bool {
        let is_silence = |entry: &Entry| {
            !entry.is_lifted && entry.rule.is_for_all && matches!(entry.rule.fault, Fault::Silence)
        };
        self.locked().iter().any(is_silence)
    }

    /// Wait before each piece of this direction, and bytes per second.
    pub(super) fn pace(&self, connection: ConnectionId, direction: Direction) -> (Duration, Option<u64>) {
        let entries = self.locked();
        let in_force = entries.iter().filter(|entry| entry.is_in_force(connection));
        in_force.fold((Duration::ZERO, None), |(delay, rate), entry| match entry.rule.fault {
            Fault::Delay(slow, more) if slow == direction => (delay + more, rate),
            Fault::Throttle(slow, limit) if slow == direction => {
                (delay, Some(rate.map_or(limit, |rate: u64| rate.min(limit))))
            }
            _ => (delay, rate),
        })
    }

    /// The connection is no more; what was awaited on it will not come.
    pub(super) fn forget(&self, connection: ConnectionId) {
        for entry in self.locked().iter_mut() {
            entry.on.remove(&connection);
            entry.awaits.remove(&connection);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Watch {
    /// How often the rule matched, including matches that were let through.
    pub fn seen(&self) -> usize {
        self.table.locked()[self.index].seen
    }

    /// How many requests that set the rule off were answered by the server, whether or not the answer got through.
    pub fn answered(&self) -> usize {
        self.table.locked()[self.index].answered
    }

    /// Waits until bytes like those of the rule have come by so often in all. Panics after a bounded wait.
    pub async fn until_seen(&self, times: usize) {
        self.until("seen", times, Self::seen).await;
    }

    /// Waits until the server has answered this many requests that triggered the rule. What is held back has then happened,
    /// and its client does not know. Panics after a bounded wait.
    pub async fn until_answered(&self, times: usize) {
        self.until("answered", times, Self::answered).await;
    }

    /// Ends the rule; what it held back goes on.
    pub fn lift(&self) {
        self.table.locked()[self.index].is_lifted = true;
        self.table.note_change();
    }

    async fn until(&self, what: &str, times: usize, count: impl Fn(&Self) -> usize) {
        let mut changes = self.table.changes();
        let reached = tokio::time::timeout(PATIENCE, changes.wait_for(|_| count(self) >= times)).await;
        assert!(
            reached.is_ok(),
            "{what} {} times instead of {times}: {:?}",
            count(self),
            self.table.locked()[self.index].rule
        );
    }
}
