//! From hour documents to columns of points, in time order.
//!
//! [`slice`] gathers the documents of one window, [`hour`] is one document with its `_id`,
//! [`bucket`] walks its points by means of [`element`], and [`column`] holds them. [`tally`] counts
//! every point and document; [`samples`] keeps examples of data that cannot be exported. [`dump`]
//! reads a folder that mongodump has written.

pub(crate) mod bucket;
pub(crate) mod column;
pub(crate) mod dump;
pub(crate) mod element;
pub(crate) mod hour;
pub(crate) mod samples;
pub(crate) mod slice;
pub(crate) mod tally;
