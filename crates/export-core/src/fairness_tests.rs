//! The guarantees of the order of tenants, for any loads.

use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn tenant(name: &str) -> Tenant {
    name.parse().expect("a tenant")
}

fn load(name: &str, dispatched: usize, publishable: usize) -> Load {
    Load { tenant: tenant(name), dispatched, publishable }
}

fn next_names(loads: &[Load], last_served: Option<&str>, room: usize, max_dispatched: usize) -> Vec<String> {
    let last_served = last_served.map(tenant);
    let room = Room { jobs: room, kept_for_new_tenants: 0 };
    let tenants = next_tenants(loads.to_vec(), last_served.as_ref(), room, max_dispatched);
    tenants.into_iter().map(|tenant| tenant.to_string()).collect()
}

#[test]
fn the_tenant_with_the_fewest_jobs_comes_first() {
    let loads = [load("a", 5, 400), load("b", 0, 1), load("c", 2, 9)];
    assert_eq!(next_names(&loads, None, 6, 99), ["b", "c", "c", "c", "a", "c"]);
}

#[test]
fn equals_take_turns() {
    let loads = [load("a", 1, 9), load("b", 1, 9), load("c", 1, 9)];
    assert_eq!(next_names(&loads, Some("a"), 4, 99), ["b", "c", "a", "b"]);
    assert_eq!(next_names(&loads, Some("bb"), 1, 99), ["c"], "a tenant that has left keeps its position");
    assert_eq!(next_names(&loads, Some("z"), 1, 99), ["a"]);
}

#[test]
fn a_tenant_alone_gets_all_the_room_up_to_the_limit() {
    assert_eq!(next_names(&[load("a", 3, 400)], Some("a"), 100, 8).len(), 5);
    assert_eq!(next_names(&[load("a", 9, 400)], None, 100, 8).len(), 0, "the limit was lowered meanwhile");
    assert_eq!(next_names(&[], None, 100, 8).len(), 0);
}

#[test]
fn c8_places_are_kept_for_interactive_jobs_and_new_tenants() {
    let kept = |count| {
        let places = Places { count };
        (count - places.for_bulk(), places.kept_for_new_tenants())
    };
    assert_eq!([0, 1, 2, 3, 4, 7].map(kept), [(0, 0), (0, 0), (1, 0), (1, 0), (1, 0), (1, 0)]);
    assert_eq!([8, 16, 100].map(kept), [(2, 1), (4, 2), (25, 12)]);
    let places = Places { count: 16 };
    assert!(places.has_room_for_bulk(9, 5) && !places.has_room_for_bulk(10, 5));
    assert!(places.has_room_for_bulk(10, 0) && !places.has_room_for_bulk(12, 0));
}

#[test]
fn c8_the_last_room_is_for_tenants_without_jobs() {
    let next = |loads: &[Load], jobs| {
        let room = Room { jobs, kept_for_new_tenants: 2 };
        let tenants = next_tenants(loads.to_vec(), None, room, 99);
        tenants.into_iter().map(|tenant| tenant.to_string()).collect::<Vec<_>>()
    };
    let all = [load("a", 7, 400), load("b", 6, 400), load("new", 0, 400), load("newer", 0, 400)];
    assert_eq!(next(&all[..2], 2).len(), 0, "kept, although no tenant needs it now");
    assert_eq!(next(&all[..2], 4), ["b", "a"]);
    assert_eq!(next(&all[..3], 2), ["new"], "and from then on it has a job like the others");
    assert_eq!(next(&all, 2), ["new", "newer"]);
    assert_eq!(next(&all, 5), ["new", "newer", "new"]);
}

/// Loads of up to eight tenants.
fn any_loads() -> impl Strategy<Value = Vec<Load>> {
    let amounts = (0_usize..6, 0_usize..12);
    btree_map("[a-f]{1,2}", amounts, 0..8).prop_map(|loads| {
        let of = |(name, (dispatched, publishable)): (String, _)| load(&name, dispatched, publishable);
        loads.into_iter().map(of).collect()
    })
}

fn any_last() -> impl Strategy<Value = Option<String>> {
    option::of("[a-f]{1,2}")
}

proptest! {
    #[test]
    fn the_room_is_filled_while_a_tenant_is_eligible(
        loads in any_loads(), last in any_last(), room in 0_usize..40, max_dispatched in 1_usize..8,
    ) {
        let tenants = next_names(&loads, last.as_deref(), room, max_dispatched);
        let allowed = |load: &Load| max_dispatched.saturating_sub(load.dispatched);
        let wanted = loads.iter().map(|load| load.publishable.min(allowed(load)));
        prop_assert_eq!(tenants.len(), wanted.sum::<usize>().min(room));
    }

    #[test]
    fn c8_a_tenant_without_jobs_gets_one_while_there_is_room(
        loads in any_loads(), last in any_last(), jobs in 0_usize..40, kept in 0_usize..4,
    ) {
        let (room, last) = (Room { jobs, kept_for_new_tenants: kept }, last.as_deref().map(tenant));
        let tenants = next_tenants(loads.clone(), last.as_ref(), room, 8);
        let waiting = loads.iter().filter(|load| load.dispatched == 0 && load.publishable > 0);
        let (served, waiting): (Vec<_>, Vec<_>) = waiting.partition(|load| tenants.contains(&load.tenant));
        prop_assert!(waiting.is_empty() || served.len() == jobs, "{:?}", tenants);
        let of_new = |tenant: &&Tenant| served.iter().any(|load| load.tenant == **tenant);
        let others = tenants.iter().filter(|tenant| !of_new(tenant)).count();
        prop_assert!(others <= jobs.saturating_sub(kept), "{:?}", tenants);
    }

    #[test]
    fn no_tenant_gets_more_jobs_than_allowed_or_needed(
        loads in any_loads(), last in any_last(), room in 0_usize..40, max_dispatched in 1_usize..8,
    ) {
        let tenants = next_names(&loads, last.as_deref(), room, max_dispatched);
        for load in &loads {
            let given = tenants.iter().filter(|name| *name == load.tenant.as_str()).count();
            prop_assert!(given <= load.publishable);
            prop_assert!(given == 0 || load.dispatched + given <= max_dispatched);
        }
    }

    #[test]
    fn a_tenant_with_more_jobs_never_comes_first(
        loads in any_loads(), last in any_last(), room in 0_usize..40, max_dispatched in 1_usize..8,
    ) {
        let tenants = next_names(&loads, last.as_deref(), room, max_dispatched);
        let mut left: BTreeMap<&str, (usize, usize)> =
            loads.iter().map(|load| (load.tenant.as_str(), (load.dispatched, load.publishable))).collect();
        for name in &tenants {
            let eligible = left.values().filter(|(_, publishable)| *publishable > 0);
            let fewest = eligible.map(|(dispatched, _)| *dispatched).min();
            let (dispatched, _) = left[name.as_str()];
            prop_assert_eq!(Some(dispatched), fewest, "{} in {:?}", name, tenants);
            let (dispatched, publishable) = left.get_mut(name.as_str()).expect("one of them");
            (*dispatched, *publishable) = (*dispatched + 1, *publishable - 1);
        }
    }

    #[test]
    fn equals_get_equal_shares(
        names in prop::collection::btree_set("[a-f]{1,2}", 1..8), last in any_last(), room in 0_usize..60,
        dispatched in 0_usize..5,
    ) {
        let loads: Vec<_> = names.iter().map(|name| load(name, dispatched, 1_000)).collect();
        let tenants = next_names(&loads, last.as_deref(), room, 1_000);
        let given = |name: &String| tenants.iter().filter(|tenant| *tenant == name).count();
        let counts: Vec<_> = names.iter().map(given).collect();
        let (fewest, most) = (counts.iter().min().expect("one"), counts.iter().max().expect("one"));
        prop_assert!(most - fewest <= 1, "{:?}", counts);
        // With room for one job at a time, the order does not change.
        let mut last_served = last;
        let mut loads = loads;
        for name in &tenants {
            let next = next_names(&loads, last_served.as_deref(), 1, 1_000);
            prop_assert_eq!(&next[..], std::slice::from_ref(name));
            let load = loads.iter_mut().find(|load| load.tenant.as_str() == name).expect("one of them");
            load.dispatched += 1;
            last_served = Some(name.clone());
        }
    }

    #[test]
    fn the_order_in_which_loads_are_given_does_not_matter(
        loads in any_loads(), last in any_last(), room in 0_usize..40, max_dispatched in 1_usize..8,
        seed in any::<u64>(),
    ) {
        let mut others = loads.clone();
        for position in (1..others.len()).rev() {
            let other = seed.rotate_left(u32::try_from(position).expect("few")) % (position as u64 + 1);
            others.swap(position, usize::try_from(other).expect("few"));
        }
        let wanted = next_names(&loads, last.as_deref(), room, max_dispatched);
        prop_assert_eq!(next_names(&others, last.as_deref(), room, max_dispatched), wanted);
    }
}
