//! Pressure on the source, derived from two samples of `serverStatus`. Pure.

use bson::{Bson, Document};

/// Length of the server's read queue from which it counts as overloaded. One or two waiting readers
/// are normal.
const QUEUED_READERS: i64 = 4;
/// Share of used read tickets from which the server counts as overloaded.
const TICKETS_USED: f64 = 0.9;
/// Minimum number of reads of other clients between two samples for a mean duration.
const MIN_OPERATIONS: i64 = 20;
/// Reads of other clients count as slower from this multiple of their baseline.
const SLOWER: f64 = 2.0;
/// The share of the difference by which the baseline follows a lower and a higher mean.
const FALL: f64 = 0.25;
const RISE: f64 = 0.003;

/// The used values of one `serverStatus` reply. A value that the server does not report is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// The server. Counters of different servers are not compared.
    host: String,
    /// Number of reads since the server started, and their total duration in microseconds.
    reads: Option<(i64, i64)>,
    queued_readers: Option<i64>,
    /// Read tickets: used, and total.
    tickets: Option<(i64, i64)>,
}

/// The state of the source, from two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// No pressure, or not enough information.
    None,
    /// Reads of other clients take longer than before. No proof by itself: they may be different
    /// reads.
    Slower,
    /// Operations wait in a queue of the server.
    Waiting(&'static str),
}

/// Reads of this process between two samples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnReads {
    pub(crate) count: i64,
    pub(crate) micros: i64,
}

/// Compares samples.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    last: Option<Sample>,
    /// Baseline of the duration of a read of other clients, in microseconds.
    baseline_micros: Option<f64>,
}

impl Sample {
    /// Reads a reply of an old or new server, or of a router, which reports less.
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

    /// Whether the server reports any of the values.
    pub(crate) fn is_usable(&self) -> bool {
        self.reads.is_some() || self.queued_readers.is_some() || self.tickets.is_some()
    }
}

impl Judge {
    /// Compares the sample with the last one.
    pub(crate) fn judge(&mut self, sample: Sample, own: OwnReads) -> Pressure {
        let last = self.last.take();
        let pressure = self.compare(last.as_ref(), &sample, own);
        self.last = Some(sample);
        pressure
    }

    fn compare(&mut self, last: Option<&Sample>, sample: &Sample, own: OwnReads) -> Pressure {
        if sample.queued_readers.is_some_and(|queued| queued >= QUEUED_READERS) {
            return Pressure::Waiting("the read queue of the source is long");
        }
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        if sample.tickets.is_some_and(|(out, all)| all > 0 && out as f64 >= all as f64 * TICKETS_USED) {
            return Pressure::Waiting("the read tickets of the source are used up");
        }
        let Some(mean) = last.and_then(|last| others_mean(last, sample, own)) else {
            return Pressure::None;
        };
        let baseline = self.baseline_micros.get_or_insert(mean);
        *baseline += (mean - *baseline) * if mean < *baseline { FALL } else { RISE };
        if mean > *baseline * SLOWER { Pressure::Slower } else { Pressure::None }
    }

    /// Forgets the last sample, after a gap in sampling.
    pub(crate) fn pause(&mut self) {
        self.last = None;
    }
}

/// Mean duration in microseconds of the reads of other clients between two samples. Own reads are
/// subtracted with their duration measured here, which is longer than on the server: the error is
/// on the side of no pressure.
fn others_mean(last: &Sample, now: &Sample, own: OwnReads) -> Option<f64> {
    if last.host != now.host {
        return None;
    }
    let ((ops_before, micros_before), (ops, micros)) = (last.reads?, now.reads?);
    let others = ops.checked_sub(ops_before)?.checked_sub(own.count)?;
    let others_micros = micros.checked_sub(micros_before)?.saturating_sub(own.micros).max(0);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a second")]
    (others >= MIN_OPERATIONS).then(|| others_micros as f64 / others as f64)
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
    fn replies_of_old_and_new_servers_are_read() {
        let old = doc! { "host": "a", "opLatencies": { "reads": { "ops": 5_i64, "latency": 900_i64 } },
        "globalLock": { "currentQueue": { "readers": 0 } },
        "wiredTiger": { "concurrentTransactions": { "read": { "out": 1, "available": 127, "totalTickets": 128 } } } };
        let expected = Sample {
            host: "a".into(),
            reads: Some((5, 900)),
            queued_readers: Some(0),
            tickets: Some((1, 128)),
        };
        assert_eq!(Sample::of(&old), expected);
        let new =
            doc! { "host": "a", "queues": { "execution": { "read": { "out": 7, "totalTickets": 7 } } } };
        assert!(matches!(
            Judge::default().judge(Sample::of(&new), OwnReads::default()),
            Pressure::Waiting(_)
        ));
        assert!(!Sample::of(&doc! { "host": "a", "ok": 1 }).is_usable());
    }

    #[test]
    fn a_long_queue_is_pressure_at_once() {
        let queue = doc! { "host": "a", "globalLock": { "currentQueue": { "readers": QUEUED_READERS } } };
        assert!(matches!(
            Judge::default().judge(Sample::of(&queue), OwnReads::default()),
            Pressure::Waiting(_)
        ));
    }

    #[test]
    fn slower_reads_of_other_clients_are_reported() {
        let mut judge = Judge::default();
        let none = OwnReads::default();
        assert_eq!(judge.judge(sample(0, 0), none), Pressure::None);
        assert_eq!(judge.judge(sample(1_000, 100_000), none), Pressure::None, "0.1 ms each is the baseline");
        assert_eq!(judge.judge(sample(2_000, 400_000), none), Pressure::Slower, "0.3 ms each");
        // Own reads are subtracted.
        let own = OwnReads { count: 100, micros: 1_000_000 };
        assert_eq!(judge.judge(sample(3_100, 1_500_000), own), Pressure::None);
        // Few operations, a restart and a different server give no information.
        assert_eq!(judge.judge(sample(3_110, 2_500_000), none), Pressure::None);
        assert_eq!(judge.judge(sample(10, 1_000), none), Pressure::None);
        let other = Sample { host: "b".into(), ..sample(100_000, 90_000_000) };
        assert_eq!(judge.judge(other, none), Pressure::None);
    }
}
