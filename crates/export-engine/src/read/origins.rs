//! Where the points of a column come from, which decides between two points at one time.
//!
//! Points are pushed in the order in which they are stored. Where a document's keys are not in
//! numeric order, that differs from the order of the paths, in which the later point counts. So a
//! column remembers the bucket of each point: as runs of points, and as one small entry for each
//! bucket. The entries are read only for points with equal times.

use std::cmp::Ordering;

/// The number of a bucket in [`Origins`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BucketId(u32);

/// The buckets and runs of a column.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    buckets: Vec<Bucket>,
    /// Ascending by position. Empty in a column whose points were pushed without a bucket.
    runs: Vec<Run>,
}

/// The children of one field `values`.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// The bucket around it; itself for a document.
    parent: BucketId,
    depth: u32,
    /// Of a document, its start; else the sum of the keys on the path to this bucket, which may be
    /// far from every time. Among children of one bucket, the order of these sums is the order of
    /// their keys.
    offset_ms: i64,
}

/// Points of one bucket that follow each other.
#[derive(Clone, Copy, Debug)]
struct Run {
    first_position: usize,
    bucket: BucketId,
}

impl Origins {
    pub(crate) fn clear(&mut self) {
        self.buckets.clear();
        self.runs.clear();
    }

    pub(crate) fn allocated_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>() + self.runs.capacity() * size_of::<Run>()
    }

    /// Adds a document; its points come after those of earlier documents.
    pub(crate) fn add_document(&mut self, start_ms: i64) -> BucketId {
        let id = self.next_id();
        self.buckets.push(Bucket { parent: id, depth: 0, offset_ms: start_ms });
        id
    }

    /// Adds the children of a field `values`. `offset_ms` is the sum of the keys on the path to it.
    pub(crate) fn add_bucket(&mut self, parent: BucketId, offset_ms: i64) -> BucketId {
        let id = self.next_id();
        let depth = self.bucket(parent).depth + 1;
        self.buckets.push(Bucket { parent, depth, offset_ms });
        id
    }

    /// The points from this position on belong to the bucket.
    pub(crate) fn begin_run(&mut self, first_position: usize, bucket: BucketId) {
        match self.runs.last_mut() {
            Some(last) if last.bucket == bucket => {}
            Some(last) if last.first_position == first_position => last.bucket = bucket,
            _ => self.runs.push(Run { first_position, bucket }),
        }
    }

    /// The order of the paths of two points, given by their positions, whose time is the same.
    /// `Equal` means that their stored order decides.
    pub(crate) fn path_order(&self, one: usize, other: usize, time_ms: i64) -> Ordering {
        match (self.bucket_of(one), self.bucket_of(other)) {
            (Some(one), Some(other)) => self.bucket_order(one, other, time_ms),
            _ => Ordering::Equal,
        }
    }

    fn bucket_order(&self, mut one: BucketId, mut other: BucketId, time_ms: i64) -> Ordering {
        // The last steps of both paths below the bucket that is looked at, from the start of their
        // document on. If they are in different documents, the steps do not count.
        let offset_ms = time_ms - self.start_ms_of(one);
        let (mut step_ms, mut other_step_ms) = (offset_ms, offset_ms);
        while one != other {
            let (bucket, other_bucket) = (self.bucket(one), self.bucket(other));
            if bucket.depth == 0 && other_bucket.depth == 0 {
                return one.cmp(&other);
            }
            if bucket.depth >= other_bucket.depth {
                (step_ms, one) = (bucket.offset_ms, bucket.parent);
            }
            if other_bucket.depth >= bucket.depth {
                (other_step_ms, other) = (other_bucket.offset_ms, other_bucket.parent);
            }
        }
        step_ms.cmp(&other_step_ms)
    }

    /// Start of the document that has this bucket.
    fn start_ms_of(&self, id: BucketId) -> i64 {
        let bucket = self.bucket(id);
        if bucket.depth == 0 { bucket.offset_ms } else { self.start_ms_of(bucket.parent) }
    }

    /// Moves the points: `positions` has, by new position, the old one.
    pub(crate) fn reorder(&mut self, positions: &[u32]) {
        let buckets: Vec<Option<BucketId>> =
            positions.iter().map(|position| self.bucket_of(*position as usize)).collect();
        self.runs.clear();
        for (position, bucket) in buckets.into_iter().enumerate() {
            if let Some(bucket) = bucket {
                self.begin_run(position, bucket);
            }
        }
    }

    fn bucket_of(&self, position: usize) -> Option<BucketId> {
        let next = self.runs.partition_point(|run| run.first_position <= position);
        next.checked_sub(1).map(|index| self.runs[index].bucket)
    }

    fn bucket(&self, id: BucketId) -> Bucket {
        self.buckets[id.0 as usize]
    }

    fn next_id(&self) -> BucketId {
        // The documents of a slice have far fewer than 2^32 bytes.
        BucketId(u32::try_from(self.buckets.len()).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_key_by_key() {
        let mut origins = Origins::default();
        let first = origins.add_document(100);
        let (five, inner) = (origins.add_bucket(first, 5), origins.add_bucket(first, 1));
        let deep = origins.add_bucket(inner, 4);
        let second = origins.add_document(90);
        for (position, bucket) in [first, five, inner, deep, second].into_iter().enumerate() {
            origins.begin_run(position, bucket);
        }
        let order = |one, other| origins.path_order(one, other, 110);
        // The keys of the points are 10; 5, 5; 1, 9; 1, 3, 6.
        assert_eq!(order(0, 1), Ordering::Greater);
        assert_eq!(order(1, 2), Ordering::Greater);
        assert_eq!(order(2, 3), Ordering::Greater);
        assert_eq!(order(3, 1), Ordering::Less);
        assert_eq!(order(0, 4), Ordering::Less);
        assert_eq!(order(2, 2), Ordering::Equal);
        let far = origins.add_bucket(first, -i64::MAX);
        origins.begin_run(5, far);
        // Its first key is far below zero, and the next one brings the point back.
        assert_eq!(origins.path_order(0, 5, -7_200_000), Ordering::Greater);
        origins.reorder(&[4, 1, 0]);
        assert_eq!(origins.path_order(0, 1, 110), Ordering::Greater);
        assert_eq!(origins.path_order(1, 2, 110), Ordering::Less);
    }
}
