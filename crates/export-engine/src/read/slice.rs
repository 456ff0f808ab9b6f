//! Slices: the unit of work, one vehicle and a window of whole hours.
//!
//! [`Slicer`] reads the vehicle's collections side by side and gathers, window by window, the
//! documents that may hold points of the window. Windows follow each other without gap or overlap
//! and cover all data of the range.

use export_core::range::HOUR_MS;
use export_core::source::HourDocuments;
use export_core::{Parameter, TimeRange, VehicleId};

use super::hour::HourDocument;
use crate::error::EngineError;

/// Most parts that one window is split into. Of the largest possible hour document, 16 MiB, each
/// part has half a mebibyte.
const MAX_PARTS: usize = 32;

/// Sizes of slices in bytes of documents. They bound memory and do not affect the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceSize {
    /// A slice ends at the first whole hour after this many bytes.
    pub target_bytes: usize,
    /// A slice with more bytes, which only heavy hours reach, is split into parts of equal time.
    pub most_bytes: usize,
}

/// The documents of one window.
#[derive(Debug)]
pub(crate) struct Slice {
    /// The part of the export's range that this slice writes.
    pub(crate) window: TimeRange,
    /// By column: the documents that may hold points of the window, in order.
    pub(crate) columns: Vec<SliceColumn>,
    /// Memory of the documents; for a part of a split slice, its share of it.
    pub(crate) bytes: usize,
    /// Fraction of the vehicle's range that is done with this slice, in millionths.
    pub(crate) millionths_done: u64,
}

/// One collection's part of a slice.
#[derive(Debug, Default)]
pub(crate) struct SliceColumn {
    /// Documents of earlier slices that may reach into this window. There are none if documents
    /// start on whole hours, as in all real data seen so far.
    pub(crate) carried: Vec<HourDocument>,
    /// Documents that start in this window.
    pub(crate) documents: Vec<HourDocument>,
}

/// Cuts one vehicle's documents into slices.
pub(crate) struct Slicer<'a> {
    vehicle: VehicleId,
    range: TimeRange,
    /// End of the last window, start of the next.
    position_ms: i64,
    collections: Vec<Collection<'a>>,
    size: SliceSize,
    /// Most memory of the documents of an hour.
    hour_bytes: usize,
    /// A slice that is being split.
    splitting: Option<Splitting>,
}

/// A slice that is returned in parts.
struct Splitting {
    slice: Slice,
    part_count: usize,
    next_part: usize,
}

/// One collection that is being read. A parameter without a collection has no documents.
struct Collection<'a> {
    parameter: Parameter,
    documents: Option<Box<dyn HourDocuments + 'a>>,
    /// The next document, read ahead to see where it starts.
    next: Option<HourDocument>,
    last_start_ms: i64,
    carried: Vec<HourDocument>,
}

impl<'a> Slicer<'a> {
    /// Begins with the collections of one vehicle, in column order.
    pub(crate) fn new(
        vehicle: VehicleId,
        range: TimeRange,
        size: SliceSize,
        hour_bytes: usize,
        collections: Vec<(Parameter, Option<Box<dyn HourDocuments + 'a>>)>,
    ) -> Self {
        let collections = collections
            .into_iter()
            .map(|(parameter, documents)| Collection {
                parameter,
                documents,
                next: None,
                last_start_ms: i64::MIN,
                carried: Vec::new(),
            })
            .collect();
        Self { vehicle, range, position_ms: range.from_ms(), collections, size, hour_bytes, splitting: None }
    }

    /// The next slice, or `None` if the vehicle has no further documents.
    pub(crate) fn next(&mut self) -> Result<Option<Slice>, EngineError> {
        if self.splitting.is_none() {
            let Some(slice) = self.gather()? else { return Ok(None) };
            if slice.bytes <= self.size.most_bytes {
                return Ok(Some(slice));
            }
            let length_ms = slice.window.to_ms() - slice.window.from_ms();
            let part_count = slice.bytes.div_ceil(self.size.most_bytes.max(1)).min(MAX_PARTS);
            let part_count = part_count.min(usize::try_from(length_ms).unwrap_or(MAX_PARTS));
            self.splitting = Some(Splitting { slice, part_count, next_part: 0 });
        }
        let Some(splitting) = &mut self.splitting else { return Ok(None) };
        let part = splitting.slice.part(splitting.next_part, splitting.part_count);
        splitting.next_part += 1;
        if splitting.next_part == splitting.part_count {
            self.splitting = None;
        }
        Ok(part)
    }

    fn gather(&mut self) -> Result<Option<Slice>, EngineError> {
        if self.position_ms >= self.range.to_ms() {
            return Ok(None);
        }
        let mut ahead_bytes = 0;
        for collection in &mut self.collections {
            collection.read_ahead()?;
            // They are in memory together, even if they are of different hours.
            if let Some(next) = &collection.next {
                ahead_bytes += next.memory_bytes();
                if ahead_bytes > self.hour_bytes {
                    let (vehicle, most_bytes) = (self.vehicle.clone(), self.hour_bytes);
                    return Err(EngineError::HourTooLarge { vehicle, hour_ms: next.start_ms, most_bytes });
                }
            }
        }
        let is_carrying = self.collections.iter().any(|collection| !collection.carried.is_empty());
        if self.earliest_start_ms().is_none() && !is_carrying {
            return Ok(None);
        }

        let mut columns: Vec<SliceColumn> = self
            .collections
            .iter_mut()
            .map(|collection| SliceColumn {
                carried: std::mem::take(&mut collection.carried),
                documents: Vec::new(),
            })
            .collect();
        // Carried documents end within the hour after the last window.
        let mut end_ms = if is_carrying { self.position_ms + HOUR_MS } else { self.position_ms };
        let carried = columns.iter().flat_map(|column| &column.carried);
        let carried_bytes: usize = carried.map(HourDocument::memory_bytes).sum();
        let mut gathered_bytes = 0;
        while let Some(start_ms) = self.earliest_start_ms()
            && gathered_bytes < self.size.target_bytes.max(1)
        {
            // Documents of the hour before the range belong to the first window.
            end_ms = end_ms.max(next_whole_hour(start_ms.max(self.position_ms)));
            for (collection, column) in self.collections.iter_mut().zip(&mut columns) {
                let room_bytes = self.hour_bytes.saturating_sub(carried_bytes + gathered_bytes);
                let taken_bytes = collection.take_before(end_ms, room_bytes, &mut column.documents)?;
                if taken_bytes > room_bytes {
                    let (vehicle, most_bytes) = (self.vehicle.clone(), self.hour_bytes);
                    return Err(EngineError::HourTooLarge { vehicle, hour_ms: start_ms, most_bytes });
                }
                gathered_bytes += taken_bytes;
            }
        }

        let end_ms = end_ms.clamp(self.position_ms + 1, self.range.to_ms());
        let Ok(window) = TimeRange::new(self.position_ms, end_ms) else { return Ok(None) };
        self.position_ms = end_ms;
        for (collection, column) in self.collections.iter_mut().zip(&columns) {
            let reaches_on =
                |document: &&HourDocument| document.reaches(end_ms) && end_ms < self.range.to_ms();
            collection.carried = column.documents.iter().filter(reaches_on).cloned().collect();
        }
        let bytes = carried_bytes + gathered_bytes;
        Ok(Some(Slice { window, columns, bytes, millionths_done: self.millionths_done() }))
    }

    /// Fraction of the range up to the end of the last slice, in millionths.
    fn millionths_done(&self) -> u64 {
        let whole_ms = self.range.to_ms() - self.range.from_ms();
        let done_ms = self.position_ms - self.range.from_ms();
        u64::try_from(i128::from(done_ms) * 1_000_000 / i128::from(whole_ms)).unwrap_or(0)
    }

    fn earliest_start_ms(&self) -> Option<i64> {
        self.collections
            .iter()
            .filter_map(|collection| collection.next.as_ref())
            .map(|next| next.start_ms)
            .min()
    }
}

impl Slice {
    /// Part `index` of `parts` parts of equal time: the documents that start in it, and earlier
    /// documents that reach into it. `None` if the window is too short to have this part.
    fn part(&self, index: usize, parts: usize) -> Option<Self> {
        let length_ms = i128::from(self.window.to_ms() - self.window.from_ms());
        let cut_ms = |index: usize| {
            let into_ms = length_ms * index as i128 / parts as i128;
            self.window.from_ms() + i64::try_from(into_ms).unwrap_or(0)
        };
        let window = TimeRange::new(cut_ms(index), cut_ms(index + 1)).ok()?;
        let is_first = cut_ms(index) == self.window.from_ms();
        let columns = self.columns.iter().map(|column| {
            let starts_before = |document: &&HourDocument| !is_first && document.start_ms < window.from_ms();
            let starts_within =
                |document: &&HourDocument| !starts_before(document) && document.start_ms < window.to_ms();
            let reaches_in = |document: &&HourDocument| document.reaches(window.from_ms());
            let earlier = column.documents.iter().filter(starts_before);
            SliceColumn {
                carried: column.carried.iter().chain(earlier).filter(reaches_in).cloned().collect(),
                documents: column.documents.iter().filter(starts_within).cloned().collect(),
            }
        });
        let columns = columns.collect();
        Some(Self { window, columns, bytes: self.bytes / parts, millionths_done: self.millionths_done })
    }
}

impl Collection<'_> {
    /// Fills `next`, unless it is full or the collection has ended.
    fn read_ahead(&mut self) -> Result<(), EngineError> {
        if self.next.is_some() {
            return Ok(());
        }
        let Some(documents) = &mut self.documents else { return Ok(()) };
        let Some(bytes) = documents.next()? else {
            self.documents = None;
            return Ok(());
        };
        let document = HourDocument::parse(bytes, self.last_start_ms);
        if document.start_ms < self.last_start_ms {
            let (parameter, before_ms, after_ms) = (&self.parameter, self.last_start_ms, document.start_ms);
            return Err(EngineError::Unordered(format!(
                "the documents of {parameter} are not ordered by _id: {after_ms} came after {before_ms}"
            )));
        }
        self.last_start_ms = document.start_ms;
        self.next = Some(document);
        Ok(())
    }

    /// Moves the documents that start before this time to `into`; returns the memory that they take.
    /// Stops as soon as it is more than `room_bytes`.
    fn take_before(
        &mut self,
        end_ms: i64,
        room_bytes: usize,
        into: &mut Vec<HourDocument>,
    ) -> Result<usize, EngineError> {
        let mut taken_bytes = 0;
        loop {
            self.read_ahead()?;
            let Some(document) = self.next.take_if(|next| next.start_ms < end_ms) else {
                return Ok(taken_bytes);
            };
            taken_bytes += document.add_to(into);
            if taken_bytes > room_bytes {
                return Ok(taken_bytes);
            }
        }
    }
}

/// The first whole hour after this time.
fn next_whole_hour(time_ms: i64) -> i64 {
    (time_ms.div_euclid(HOUR_MS) + 1) * HOUR_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;
    use bytes::Bytes;
    use export_core::source::SourceError;

    struct Listed(std::vec::IntoIter<i64>);

    impl HourDocuments for Listed {
        fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
            Ok(self
                .0
                .next()
                .map(|start_ms| doc! { "_id": start_ms, "values": {} }.to_vec().expect("BSON").into()))
        }
    }

    fn vehicle() -> VehicleId {
        "vehicle_001".parse().expect("a vehicle")
    }

    fn cut(range: TimeRange, starts: Vec<i64>, target_bytes: usize) -> Result<Vec<Slice>, EngineError> {
        cut_at(range, starts, SliceSize { target_bytes, most_bytes: usize::MAX })
    }

    fn cut_at(range: TimeRange, starts: Vec<i64>, size: SliceSize) -> Result<Vec<Slice>, EngineError> {
        let listed: Box<dyn HourDocuments> = Box::new(Listed(starts.into_iter()));
        let parameter: Parameter = "soc".parse().expect("a parameter");
        let missing = ("odo".parse().expect("a parameter"), None);
        let mut slicer =
            Slicer::new(vehicle(), range, size, 1 << 20, vec![(parameter, Some(listed)), missing]);
        let mut found = Vec::new();
        while let Some(slice) = slicer.next()? {
            found.push(slice);
        }
        Ok(found)
    }

    fn windows(slices: &[Slice]) -> Vec<(i64, i64)> {
        slices.iter().map(|slice| (slice.window.from_ms(), slice.window.to_ms())).collect()
    }

    #[test]
    fn windows_are_whole_hours_without_gaps() {
        let range = TimeRange::new(10, 10 * HOUR_MS + 5).expect("a range");
        let found = cut(range, vec![0, HOUR_MS, 7 * HOUR_MS, 10 * HOUR_MS], 1).expect("slices");
        let ends = [10, HOUR_MS, 2 * HOUR_MS, 8 * HOUR_MS, 10 * HOUR_MS + 5];
        let expected: Vec<_> = ends.windows(2).map(|pair| (pair[0], pair[1])).collect();
        assert_eq!(windows(&found), expected);
        assert!(found.iter().all(|slice| slice.columns[0].carried.is_empty()));
    }

    #[test]
    fn large_slices_hold_many_hours() {
        let range = TimeRange::new(0, 100 * HOUR_MS).expect("a range");
        let starts = (0..50).map(|hour| hour * HOUR_MS).collect();
        let found = cut(range, starts, 1 << 20).expect("slices");
        assert_eq!(windows(&found), [(0, 50 * HOUR_MS)]);
        assert_eq!(found[0].columns[0].documents.len(), 50);
    }

    #[test]
    fn documents_between_whole_hours_are_carried_to_the_next_slice() {
        let range = TimeRange::new(0, 5 * HOUR_MS).expect("a range");
        let found = cut(range, vec![HOUR_MS / 2, 2 * HOUR_MS], 1).expect("slices");
        assert_eq!(windows(&found), [(0, HOUR_MS), (HOUR_MS, 3 * HOUR_MS)]);
        assert_eq!(found[1].columns[0].carried[0].start_ms, HOUR_MS / 2);
        // The last document is carried too, and its end gets a window of its own.
        let found = cut(range, vec![HOUR_MS / 2], 1).expect("slices");
        assert_eq!(windows(&found), [(0, HOUR_MS), (HOUR_MS, 2 * HOUR_MS)]);
    }

    #[test]
    fn heavy_hours_are_split_by_time_and_each_document_is_new_once() {
        let range = TimeRange::new(0, 5 * HOUR_MS).expect("a range");
        let size = SliceSize { target_bytes: 1, most_bytes: 10 };
        let found = cut_at(range, vec![HOUR_MS / 4, HOUR_MS / 2], size).expect("slices");
        let windows = windows(&found);
        assert!(windows.len() > 4, "{windows:?}");
        assert!(windows.windows(2).all(|pair| pair[0].1 == pair[1].0), "{windows:?}");
        let is_new: Vec<i64> =
            found.iter().flat_map(|slice| &slice.columns[0].documents).map(|d| d.start_ms).collect();
        assert_eq!(is_new, [HOUR_MS / 4, HOUR_MS / 2]);
        for slice in &found {
            let documents = slice.columns[0].carried.iter().chain(&slice.columns[0].documents);
            let seen: Vec<i64> = documents.map(|document| document.start_ms).collect();
            let reaching = [HOUR_MS / 4, HOUR_MS / 2].into_iter().filter(|start_ms| {
                *start_ms < slice.window.to_ms() && start_ms + HOUR_MS > slice.window.from_ms()
            });
            assert_eq!(seen, reaching.collect::<Vec<_>>(), "{:?}", slice.window);
        }
    }

    #[test]
    fn unusable_documents_take_no_memory() {
        struct Junk(u64);
        impl HourDocuments for Junk {
            fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
                let Some(left) = self.0.checked_sub(1) else { return Ok(None) };
                self.0 = left;
                let broken = left.is_multiple_of(2).then(|| Bytes::from_static(&[5, 0, 0, 0, 1]));
                Ok(Some(broken.unwrap_or_else(|| doc! { "_id": "x" }.to_vec().expect("BSON").into())))
            }
        }
        let range = TimeRange::new(0, 5 * HOUR_MS).expect("a range");
        let parameter: Parameter = "soc".parse().expect("a parameter");
        let size = SliceSize { target_bytes: 1, most_bytes: usize::MAX };
        let junk: Box<dyn HourDocuments> = Box::new(Junk(10_000));
        let mut slicer = Slicer::new(vehicle(), range, size, 1 << 20, vec![(parameter, Some(junk))]);
        let slice = slicer.next().expect("a slice").expect("a slice of samples");
        // Three samples of each reason.
        assert_eq!((slice.columns[0].documents.len(), slice.bytes), (6, 6 * size_of::<HourDocument>()));
        assert!(slicer.next().expect("the end").is_none());
    }

    #[test]
    fn c6_many_small_documents_of_one_hour_count_with_what_they_take_themselves() {
        let range = TimeRange::new(0, 5 * HOUR_MS).expect("a range");
        let outcome = cut(range, (0..20_000).collect(), 1);
        assert!(matches!(outcome, Err(EngineError::HourTooLarge { hour_ms: 0, .. })), "{outcome:?}");
        assert!(cut(range, (0..20_000).map(|n| n * 1_000).collect(), 1).is_ok());
    }

    #[test]
    fn a_source_out_of_order_is_an_error() {
        let range = TimeRange::new(0, 5 * HOUR_MS).expect("a range");
        assert!(matches!(cut(range, vec![HOUR_MS, 0], 1), Err(EngineError::Unordered(_))));
    }
}
