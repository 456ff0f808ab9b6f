//! The rules of a proxy, and the state of each.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::rule::{Direction, Fault, HttpAnswer, Rule};

/// Longest wait for matching bytes.
const PATIENCE: Duration = Duration::from_secs(90);

/// Identifies a connection within its proxy.
pub(super) type ConnectionId = usize;

/// All rules, and whether connections are accepted.
#[derive(Default)]
pub(super) struct Table {
    entries: Mutex<Vec<Entry>>,
    connections: AtomicUsize,
    /// Counts the changes of the entries and the matching bytes.
    changed: watch::Sender<u64>,
    gate: watch::Sender<Gate>,
}

/// Whether connections are accepted, and how often all were ended.
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
    /// Connections on which the rule was triggered.
    on: BTreeSet<ConnectionId>,
    /// Connections on which the server's answer is pending.
    awaits: BTreeSet<ConnectionId>,
}

impl Entry {
    fn is_in_force(&self, connection: ConnectionId) -> bool {
        !self.is_lifted && (self.rule.is_for_all || self.on.contains(&connection))
    }
}

/// What to do with bytes that were just read.
pub(super) enum Verdict {
    /// Forward them, once nothing holds them.
    Pass,
    /// Close the connection normally.
    Close,
    /// Reset the connection.
    Reset,
    /// Answer instead of the server.
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

    /// Waits until the condition holds; it is checked at every change.
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

    /// Triggers the rules that wait for these bytes, and returns what to do with the bytes.
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

    /// Whether bytes in this direction are held on this connection.
    pub(super) fn is_held(&self, connection: ConnectionId, direction: Direction) -> bool {
        let entries = self.locked();
        let mut in_force = entries.iter().filter(|entry| entry.is_in_force(connection));
        in_force.any(|entry| entry.rule.fault.holds(direction))
    }

    /// Whether new connections must not reach the server.
    pub(super) fn is_silent(&self) -> bool {
        let is_silence = |entry: &Entry| {
            !entry.is_lifted && entry.rule.is_for_all && matches!(entry.rule.fault, Fault::Silence)
        };
        self.locked().iter().any(is_silence)
    }

    /// Delay of each piece in this direction, and bytes per second.
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

    /// The connection has ended; pending answers on it will not arrive.
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

    /// Number of triggering requests that the server has answered, whether or not the answer was
    /// forwarded.
    pub fn answered(&self) -> usize {
        self.table.locked()[self.index].answered
    }

    /// Waits until bytes that match the rule have passed this many times in total. Panics after a
    /// bounded wait.
    pub async fn until_seen(&self, times: usize) {
        self.until("seen", times, Self::seen).await;
    }

    /// Waits until the server has answered this many requests that triggered the rule. The held
    /// requests have then been executed, and their client does not know. Panics after a bounded
    /// wait.
    pub async fn until_answered(&self, times: usize) {
        self.until("answered", times, Self::answered).await;
    }

    /// Removes the rule; held bytes are forwarded.
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
