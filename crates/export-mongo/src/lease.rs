//! Leases: a document belongs to one owner at a time, until a time of the server's clock.
//!
//! A leased document has the fields `owner` and `leaseUntil`. A process takes the lease with one
//! compare-and-set whose condition is [`Lease::is_free`] or [`Lease::is_free_or_own`] and whose
//! change is [`Lease::taken`]. A process that dies leaves a lease that expires.
//!
//! **Clock going backwards.** A lease is valid only if it ends within twice its
//! length from now. A value further ahead was written before the server's clock was set back, or by
//! a primary whose clock is ahead; without this rule a dead owner would keep the document for as
//! long as the clocks differ. A living owner renews by the new clock and keeps it. The factor is
//! more than one, so that a small step of the clock, or processes with slightly different lease
//! lengths, take no lease from a living owner.
//!
//! All processes must use about the same length for one document: an owner whose lease is more than
//! twice as long as another process's would lose it to that process.

use std::time::Duration;

use bson::{DateTime, Document, doc};

use crate::clock::after_now;

/// A lease that ends more than this many lengths from now is free.
const LENGTHS_AHEAD: u32 = 2;

/// A lease that a process wants: its name as the owner, and the length from now.
#[derive(Clone, Copy, Debug)]
pub struct Lease<'a> {
    /// The process that wants the lease.
    pub owner: &'a str,
    /// How long the lease lasts without being renewed.
    pub length: Duration,
}

impl Lease<'_> {
    /// The condition that no other process and no other task of this one has a valid lease. A
    /// missing or null `leaseUntil` is free: BSON orders it before every date.
    pub fn is_free(&self) -> Document {
        let far = after_now(self.length.saturating_mul(LENGTHS_AHEAD));
        doc! { "$or": [{ "$lte": ["$leaseUntil", "$$NOW"] }, { "$gt": ["$leaseUntil", far] }] }
    }

    /// The condition that no other owner has a valid lease.
    pub fn is_free_or_own(&self) -> Document {
        doc! { "$or": [self.is_free(), { "$eq": ["$owner", { "$literal": self.owner }] }] }
    }

    /// The fields of a document whose lease is this one, as expressions of an update pipeline.
    pub fn taken(&self) -> Document {
        doc! { "owner": { "$literal": self.owner }, "leaseUntil": after_now(self.length) }
    }
}

/// The fields of a document without a lease, as plain values.
///
/// The beginning of time and not the server's now: a later primary's clock may be behind.
pub fn released() -> Document {
    doc! { "owner": null, "leaseUntil": DateTime::from_millis(0) }
}
