//! Fair scheduling: whose jobs the dispatcher publishes next.
//!
//! The next job is one of the tenant with the fewest dispatched jobs, which are those published or
//! running. Tenants with equal numbers alternate in the order of their names, beginning after the
//! tenant served last. A tenant's burst therefore delays another tenant at most by the jobs that
//! were dispatched before the other tenant submitted its own, and a tenant alone can use all the
//! room.
//!
//! **Kept places.** An export may run for hours, and a running export is not stopped for another
//! one. So some of the places in which exports run are kept free ([`Places`]): a quarter for
//! interactive exports, and an eighth for tenants that have none running. A tenant that comes while
//! others use all other places begins at once, and its share grows as exports of the others end.
//!
//! Architecture invariant: pure. The result depends on the arguments alone.

use crate::id::Tenant;

/// A tenant with unpublished jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The tenant.
    pub tenant: Tenant,
    /// Jobs of the tenant that are published or running.
    pub dispatched: usize,
    /// Upper bound of the tenant's jobs that can be published now.
    pub publishable: usize,
}

impl Load {
    /// Whether one more job of the tenant may be published, where each tenant may have
    /// `max_dispatched` jobs that are published or running.
    pub const fn is_eligible(&self, max_dispatched: usize) -> bool {
        self.publishable > 0 && self.dispatched < max_dispatched
    }
}

/// One place in this number is kept for interactive exports.
const KEPT_FOR_INTERACTIVE: usize = 4;
/// One place in this number is kept for tenants without dispatched jobs.
const KEPT_FOR_NEW_TENANTS: usize = 8;

/// The places in which exports can run at a time, over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// All of them.
    pub count: usize,
}

impl Places {
    /// How many of them are kept for tenants without dispatched jobs; none of fewer than eight.
    pub const fn kept_for_new_tenants(self) -> usize {
        self.count / KEPT_FOR_NEW_TENANTS
    }

    /// How many bulk jobs of all tenants may be dispatched: all but a quarter of the places, and
    /// all but one of two or three. One place alone is for all jobs.
    pub const fn for_bulk(self) -> usize {
        let quarter = self.count / KEPT_FOR_INTERACTIVE;
        let kept = if quarter == 0 && self.count > 1 { 1 } else { quarter };
        self.count - kept
    }

    /// Whether one more bulk job may be dispatched, where `bulk` of all tenants and `of_tenant` jobs
    /// of its tenant are.
    pub const fn has_room_for_bulk(self, bulk: usize, of_tenant: usize) -> bool {
        let kept = if of_tenant == 0 { 0 } else { self.kept_for_new_tenants() };
        bulk + kept < self.for_bulk()
    }
}

/// How many jobs may be published now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Jobs of all tenants.
    pub jobs: usize,
    /// The last ones of these are for tenants without dispatched jobs.
    pub kept_for_new_tenants: usize,
}

impl Room {
    /// Whether one more job of this tenant may be published.
    pub const fn admits(&self, load: &Load, max_dispatched: usize) -> bool {
        let kept = if load.dispatched == 0 { 0 } else { self.kept_for_new_tenants };
        load.is_eligible(max_dispatched) && self.jobs > kept
    }
}

/// The tenants whose jobs are published next, in order: one entry for each job, at most as many as
/// there is room for.
///
/// There are fewer when no tenant is [admitted](Room::admits) any more.
pub fn next_tenants(
    mut loads: Vec<Load>,
    last_served: Option<&Tenant>,
    mut room: Room,
    max_dispatched: usize,
) -> Vec<Tenant> {
    loads.sort_unstable_by(|one, other| one.tenant.cmp(&other.tenant));
    let count = loads.len();
    // The index of the tenant after the one served last.
    let mut first = last_served.map_or(0, |last| loads.partition_point(|load| load.tenant <= *last));
    let mut tenants = Vec::new();
    loop {
        let in_order = (first..first + count).map(|index| index % count);
        let eligible = in_order.filter(|index| room.admits(&loads[*index], max_dispatched));
        // Of several minima, `min_by_key` returns the first.
        let Some(next) = eligible.min_by_key(|index| loads[*index].dispatched) else { break };
        let load = &mut loads[next];
        load.dispatched += 1;
        load.publishable -= 1;
        room.jobs -= 1;
        tenants.push(load.tenant.clone());
        first = next + 1;
    }
    tenants
}

#[cfg(test)]
#[path = "fairness_tests.rs"]
mod tests;
