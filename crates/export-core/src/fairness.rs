//! Fair scheduling: which tenants get the next turns. A turn is the right to have one more job
//! published.
//!
//! A turn goes to the tenant with the fewest dispatched jobs (published or running). Tenants with
//! equal numbers take turns in the order of their names, beginning after the tenant served last. So
//! a tenant's burst costs others at most the turns that were given before they came, and a tenant
//! alone can use all turns.
//!
//! Architecture invariant: pure. The result depends on the arguments alone.

use crate::id::Tenant;

/// A tenant with unpublished jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The tenant.
    pub tenant: Tenant,
    /// Dispatched jobs of the tenant: published or running.
    pub active: usize,
    /// Upper bound of the tenant's unpublished jobs that are due. At most the number of turns
    /// matters.
    pub waiting: usize,
}

/// The tenants that get the next turns, in order, one entry for each turn and `max_turns` at most.
///
/// There are fewer entries when no job waits any more, or when every tenant with waiting jobs has
/// `max_active` dispatched jobs.
pub fn next_turns(
    mut loads: Vec<Load>,
    last_served: Option<&Tenant>,
    max_turns: usize,
    max_active: usize,
) -> Vec<Tenant> {
    loads.sort_unstable_by(|one, other| one.tenant.cmp(&other.tenant));
    let tenants = loads.len();
    // The first tenant after the one served last.
    let mut first = last_served.map_or(0, |last| loads.partition_point(|load| load.tenant <= *last));
    let mut turns = Vec::new();
    while turns.len() < max_turns {
        let is_eligible = |position: &usize| {
            let load = &loads[*position];
            load.waiting > 0 && load.active < max_active
        };
        // Of several minima, `min_by_key` returns the first.
        let round = (first..first + tenants).map(|position| position % tenants);
        let next = round.filter(is_eligible).min_by_key(|position| loads[*position].active);
        let Some(next) = next else { break };
        let load = &mut loads[next];
        load.active += 1;
        load.waiting -= 1;
        turns.push(load.tenant.clone());
        first = next + 1;
    }
    turns
}

#[cfg(test)]
#[path = "fairness_tests.rs"]
mod tests;
