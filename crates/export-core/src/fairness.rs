//! Fair scheduling: whose jobs the dispatcher publishes next.
//!
//! The next job is one of the tenant with the fewest dispatched jobs, which are those published or
//! running. Tenants with equal numbers alternate in the order of their names, beginning after the
//! tenant served last. A tenant's burst therefore delays another tenant at most by the jobs that
//! were dispatched before the other tenant submitted its own, and a tenant alone can use all the
//! room.
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

/// The tenants whose jobs are published next, in order: one entry for each job, at most `room`.
///
/// There are fewer entries than `room` when no tenant is [eligible](Load::is_eligible) any more.
pub fn next_tenants(
    mut loads: Vec<Load>,
    last_served: Option<&Tenant>,
    room: usize,
    max_dispatched: usize,
) -> Vec<Tenant> {
    loads.sort_unstable_by(|one, other| one.tenant.cmp(&other.tenant));
    let count = loads.len();
    // The index of the tenant after the one served last.
    let mut first = last_served.map_or(0, |last| loads.partition_point(|load| load.tenant <= *last));
    let mut tenants = Vec::new();
    while tenants.len() < room {
        let in_order = (first..first + count).map(|index| index % count);
        let eligible = in_order.filter(|index| loads[*index].is_eligible(max_dispatched));
        // Of several minima, `min_by_key` returns the first.
        let Some(next) = eligible.min_by_key(|index| loads[*index].dispatched) else { break };
        let load = &mut loads[next];
        load.dispatched += 1;
        load.publishable -= 1;
        tenants.push(load.tenant.clone());
        first = next + 1;
    }
    tenants
}

#[cfg(test)]
#[path = "fairness_tests.rs"]
mod tests;
