//! What `serverStatus` says of how the source is doing: pure, from one sample to the next.

use bson::{Bson, Document};

/// Readers that wait in the server's queue from which on it has more to do than it can. One or two are chance.
const QUEUED_READERS: i64 = 4;
/// Share of the tickets for reading that are out from which on others wait for one.
const TICKETS_OUT: f64 = 0.9;
/// Reads of others between two samples that make a mean.
const LEAST_OPERATIONS: i64 = 20;
/// Others' reads count as slower from this multiple of their baseline on.
const SLOWER: f64 = 2.0;
/// How far the baseline goes to a lower or higher mean.
const FALL: f64 = 0.25;
const RISE: f64 = 0.003;

/// What is looked at of one answer of `serverStatus`. What the server does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Which server it is of: counters of two are not compared.
    host: String,
    /// All reads since the server began, and the microseconds they took.
    reads: Option<(i64, i64)>,
    queued_readers: Option<i64>,
    /// Tickets for reading: out, and all.
    tickets: Option<(i64, i64)>,
}

/// What two samples say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// Nothing, or that it is well.
    None,
    /// Others' reads take longer than they used to. By itself no proof: they may be others than before.
    Slower,
    /// Operations wait for their turn.
    Waiting(&'static str),
}

/// Reads of our own between two samples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnReads {
    pub(crate) count: i64,
    pub(crate) micros: i64,
}

/// Compares samples.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    last: Option<Sample>,
    /// Usual microseconds of a read of others.
    baseline_micros: Option<f64>,
}

impl Sample {
    /// Reads an answer, of old and new servers and of routers, which say less.
    pub(crate) fn of(status: &Document) -> Self {
        let reads = ["opLatencies", "reads"];
        let queued = [
            &["globalLock", "currentQueue", "readers"][..],
            &["queues", "execution", "read", "normalPriority", "queueLength"],
        ];
        let tickets =
            [&["wiredTiger", "concurrentTransactions", "read"][..], &["queues", "execution", "read"]];
        Self {
            host: status.get_str("host").unwrap_or_default().to_owned(),
            reads: number(status, &[&reads[..], &["ops"]].concat())
                .zip(number(status, &[&reads[..], &["latency"]].concat())),
            queued_readers: queued.iter().find_map(|path| number(status, path)),
            tickets: tickets.iter().find_map(|path| {
                let out = number(status, &[path, &["out"][..]].concat())?;
                Some((out, number(status, &[path, &["totalTickets"][..]].concat())?))
            }),
        }
    }

    /// Whether there is anything to go by.
    pub(crate) fn tells_anything(&self) -> bool {
        self.reads.is_some() || self.queued_readers.is_some() || self.tickets.is_some()
    }
}

impl Judge {
    /// Takes the next sample, and says how the source is.
    pub(crate) fn judge(&mut self, sample: Sample, own: OwnReads) -> Pressure {
        let last = self.last.take();
        let pressure = self.compare(last.as_ref(), &sample, own);
        self.last = Some(sample);
        pressure
    }

    fn compare(&mut self, last: Option<&Sample>, sample: &Sample, own: OwnReads) -> Pressure {
        if sample.queued_readers.is_some_and(|queued| queued >= QUEUED_READERS) {
            return Pressure::Waiting("readers wait in the source's queue");
        }
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        if sample.tickets.is_some_and(|(out, all)| all > 0 && out as f64 >= all as f64 * TICKETS_OUT) {
            return Pressure::Waiting("the source's tickets for reading are out");
        }
        let Some(mean) = last.and_then(|last| others_mean(last, sample, own)) else {
            return Pressure::None;
        };
        let baseline = self.baseline_micros.get_or_insert(mean);
        *baseline += (mean - *baseline) * if mean < *baseline { FALL } else { RISE };
        if mean > *baseline * SLOWER { Pressure::Slower } else { Pressure::None }
    }

    /// Begins anew after a pause: what happened meanwhile is of no interest.
    pub(crate) fn pause(&mut self) {
        self.last = None;
    }
}

/// Mean microseconds of the reads of others between two samples. Our own are taken out with what they took here, which is longer than
/// what they took there: what is left errs on the side of no pressure.
fn others_mean(last: &Sample, now: &Sample, own: OwnReads) -> Option<f64> {
    if last.host != now.host {
        return None;
    }
    let ((ops_before, micros_before), (ops, micros)) = (last.reads?, now.reads?);
    let others = ops.checked_sub(ops_before)?.checked_sub(own.count)?;
    let others_micros = micros.checked_sub(micros_before)?.saturating_sub(own.micros).max(0);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a second")]
    (others >= LEAST_OPERATIONS).then(|| others_micros as f64 / others as f64)
}

fn number(document: &Document, path: &[&str]) -> Option<i64> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(document, |document, name| document.get_document(name).ok())?;
    match parent.get(last)? {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(clippy::cast_possible_truncation, reason = "a count")]
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    fn sample(ops: i64, latency: i64) -> Sample {
        Sample::of(&doc! { "host": "a", "opLatencies": { "reads": { "ops": ops, "latency": latency } } })
    }

    #[test]
    fn servers_of_all_ages_are_understood() {
        let old = doc! { "host": "a", "opLatencies": { "reads": { "ops": 5_i64, "latency": 900_i64 } },
        "globalLock": { "currentQueue": { "readers": 0 } },
        "wiredTiger": { "concurrentTransactions": { "read": { "out": 1, "available": 127, "totalTickets": 128 } } } };
        let told = Sample {
            host: "a".into(),
            reads: Some((5, 900)),
            queued_readers: Some(0),
            tickets: Some((1, 128)),
        };
        assert_eq!(Sample::of(&old), told);
        let new =
            doc! { "host": "a", "queues": { "execution": { "read": { "out": 7, "totalTickets": 7 } } } };
        assert!(matches!(
            Judge::default().judge(Sample::of(&new), OwnReads::default()),
            Pressure::Waiting(_)
        ));
        assert!(!Sample::of(&doc! { "host": "a", "ok": 1 }).tells_anything());
    }

    #[test]
    fn queues_are_pressure_at_once() {
        let queue = doc! { "host": "a", "globalLock": { "currentQueue": { "readers": QUEUED_READERS } } };
        assert!(matches!(
            Judge::default().judge(Sample::of(&queue), OwnReads::default()),
            Pressure::Waiting(_)
        ));
    }

    #[test]
    fn others_are_slower_than_they_were() {
        let mut judge = Judge::default();
        let none = OwnReads::default();
        assert_eq!(judge.judge(sample(0, 0), none), Pressure::None);
        assert_eq!(judge.judge(sample(1_000, 100_000), none), Pressure::None, "0.1 ms each is the baseline");
        assert_eq!(judge.judge(sample(2_000, 400_000), none), Pressure::Slower, "0.3 ms each");
        // What our own reads took is not theirs.
        let own = OwnReads { count: 100, micros: 1_000_000 };
        assert_eq!(judge.judge(sample(3_100, 1_500_000), own), Pressure::None);
        // Few operations, a restart, and another server tell nothing.
        assert_eq!(judge.judge(sample(3_110, 2_500_000), none), Pressure::None);
        assert_eq!(judge.judge(sample(10, 1_000), none), Pressure::None);
        let other = Sample { host: "b".into(), ..sample(100_000, 90_000_000) };
        assert_eq!(judge.judge(other, none), Pressure::None);
    }
}
