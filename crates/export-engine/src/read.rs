//! From hour documents to columns of points, in time order.
//!
//! [`slice`] gathers the documents of one window, [`hour`] is one document with its `_id`,
//! [`bucket`] walks its points by means of [`element`], and [`column`] holds them; [`origins`] knows
//! the order of their paths. [`tally`] counts every point, bucket and document, and [`count`] counts
//! the points again, by a walk of its own; [`coverage`] counts the hours that have points, and
//! [`samples`] keeps examples of data that cannot be exported. [`dump`] reads a folder that mongodump
//! has written.

pub(crate) mod bucket;
pub(crate) mod column;
mod count;
pub(crate) mod coverage;
pub(crate) mod dump;
pub(crate) mod element;
pub(crate) mod hour;
mod origins;
pub(crate) mod samples;
pub(crate) mod slice;
pub(crate) mod tally;
