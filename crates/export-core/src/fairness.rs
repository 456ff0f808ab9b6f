//! Whose job is next: the rule by which waiting jobs of many tenants get the few places that there are.
//!
//! A place goes to the tenant that has the fewest already; among equals they go round by name, from the one after whoever was
//! served last. So a tenant's burst costs others at most the places that were taken before they came, and whoever is alone has everything.
//!
//! Architecture invariant: pure. Who waits and who has what is given, and the answer depends on nothing else.

use crate::id::Tenant;

/// A tenant with waiting jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Who it is.
    pub tenant: Tenant,
    /// Jobs of this tenant that have a place: in the broker, or running.
    pub active: usize,
    /// Jobs that wait, as far as that is known; of tenants with unknown many, as many as there are places.
    pub waiting: usize,
}

/// The tenants that get the next `places`, in the order they get them, one entry for each place. Fewer entries than places where nobody
/// waits any more, or where all who wait have as many as a tenant may have (`most_active`).
pub fn next_turns(
    mut loads: Vec<Load>,
    served_last: Option<&Tenant>,
    places: usize,
    most_active: usize,
) -> Vec<Tenant> {
    loads.sort_unstable_by(|one, other| one.tenant.cmp(&other.tenant));
    let tenants = loads.len();
    // The first one that comes after whoever was served last.
    let mut first = served_last.map_or(0, |last| loads.partition_point(|load| load.tenant <= *last));
    let mut turns = Vec::new();
    while turns.len() < places {
        let may_have_one = |position: &usize| {
            let load = &loads[*position];
            load.waiting > 0 && load.active < most_active
        };
        // Of several with the fewest, `min_by_key` takes the first.
        let round = (first..first + tenants).map(|position| position % tenants);
        let next = round.filter(may_have_one).min_by_key(|position| loads[*position].active);
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
