//! The guarantees of the order of turns, for any loads.

use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn tenant(name: &str) -> Tenant {
    name.parse().expect("a tenant")
}

fn load(name: &str, active: usize, waiting: usize) -> Load {
    Load { tenant: tenant(name), active, waiting }
}

fn turns(loads: &[Load], last_served: Option<&str>, slots: usize, max_active: usize) -> Vec<String> {
    let last_served = last_served.map(tenant);
    let turns = next_turns(loads.to_vec(), last_served.as_ref(), slots, max_active);
    turns.into_iter().map(|tenant| tenant.to_string()).collect()
}

#[test]
fn the_tenant_with_the_fewest_jobs_comes_first() {
    let loads = [load("a", 5, 400), load("b", 0, 1), load("c", 2, 9)];
    assert_eq!(turns(&loads, None, 6, 99), ["b", "c", "c", "c", "a", "c"]);
}

#[test]
fn equals_take_turns() {
    let loads = [load("a", 1, 9), load("b", 1, 9), load("c", 1, 9)];
    assert_eq!(turns(&loads, Some("a"), 4, 99), ["b", "c", "a", "b"]);
    assert_eq!(turns(&loads, Some("bb"), 1, 99), ["c"], "a tenant that has left keeps its position");
    assert_eq!(turns(&loads, Some("z"), 1, 99), ["a"]);
}

#[test]
fn a_tenant_alone_gets_all_slots_up_to_the_limit() {
    assert_eq!(turns(&[load("a", 3, 400)], Some("a"), 100, 8).len(), 5);
    assert_eq!(turns(&[load("a", 9, 400)], None, 100, 8).len(), 0, "the limit was lowered meanwhile");
    assert_eq!(turns(&[], None, 100, 8).len(), 0);
}

/// Loads of up to eight tenants.
fn any_loads() -> impl Strategy<Value = Vec<Load>> {
    let amounts = (0_usize..6, 0_usize..12);
    btree_map("[a-f]{1,2}", amounts, 0..8).prop_map(|loads| {
        let of = |(name, (active, waiting)): (String, _)| load(&name, active, waiting);
        loads.into_iter().map(of).collect()
    })
}

fn any_last() -> impl Strategy<Value = Option<String>> {
    option::of("[a-f]{1,2}")
}

proptest! {
    #[test]
    fn slots_are_filled_while_a_tenant_is_eligible(
        loads in any_loads(), last in any_last(), slots in 0_usize..40, max_active in 1_usize..8,
    ) {
        let turns = turns(&loads, last.as_deref(), slots, max_active);
        let wanted = loads.iter().map(|load| load.waiting.min(max_active.saturating_sub(load.active)));
        prop_assert_eq!(turns.len(), wanted.sum::<usize>().min(slots));
    }

    #[test]
    fn no_tenant_gets_more_slots_than_allowed_or_needed(
        loads in any_loads(), last in any_last(), slots in 0_usize..40, max_active in 1_usize..8,
    ) {
        let turns = turns(&loads, last.as_deref(), slots, max_active);
        for load in &loads {
            let given = turns.iter().filter(|name| *name == load.tenant.as_str()).count();
            prop_assert!(given <= load.waiting);
            prop_assert!(given == 0 || load.active + given <= max_active);
        }
    }

    #[test]
    fn a_tenant_with_more_jobs_never_comes_first(
        loads in any_loads(), last in any_last(), slots in 0_usize..40, max_active in 1_usize..8,
    ) {
        let turns = turns(&loads, last.as_deref(), slots, max_active);
        let mut left: BTreeMap<&str, (usize, usize)> =
            loads.iter().map(|load| (load.tenant.as_str(), (load.active, load.waiting))).collect();
        for name in &turns {
            let (active, _) = left[name.as_str()];
            let fewest = left.values().filter(|(_, waiting)| *waiting > 0).map(|(active, _)| *active).min();
            prop_assert_eq!(Some(active), fewest, "{} in {:?}", name, turns);
            let (active, waiting) = left.get_mut(name.as_str()).expect("one of them");
            (*active, *waiting) = (*active + 1, *waiting - 1);
        }
    }

    #[test]
    fn equals_get_equal_shares(
        names in prop::collection::btree_set("[a-f]{1,2}", 1..8), last in any_last(), slots in 0_usize..60,
        active in 0_usize..5,
    ) {
        let loads: Vec<_> = names.iter().map(|name| load(name, active, 1_000)).collect();
        let turns = turns(&loads, last.as_deref(), slots, 1_000);
        let given = |name: &String| turns.iter().filter(|turn| *turn == name).count();
        let counts: Vec<_> = names.iter().map(given).collect();
        let (fewest, most) = (counts.iter().min().expect("one"), counts.iter().max().expect("one"));
        prop_assert!(most - fewest <= 1, "{:?}", counts);
        // Filled one slot at a time, the order is the same.
        let mut last_served = last;
        let mut loads = loads;
        for turn in &turns {
            let next = self::turns(&loads, last_served.as_deref(), 1, 1_000);
            prop_assert_eq!(&next[..], std::slice::from_ref(turn));
            let load = loads.iter_mut().find(|load| load.tenant.as_str() == turn).expect("one of them");
            load.active += 1;
            last_served = Some(turn.clone());
        }
    }

    #[test]
    fn the_order_in_which_loads_are_given_does_not_matter(
        loads in any_loads(), last in any_last(), slots in 0_usize..40, max_active in 1_usize..8,
        seed in any::<u64>(),
    ) {
        let mut others = loads.clone();
        for position in (1..others.len()).rev() {
            let other = seed.rotate_left(u32::try_from(position).expect("few")) % (position as u64 + 1);
            others.swap(position, usize::try_from(other).expect("few"));
        }
        let wanted = turns(&loads, last.as_deref(), slots, max_active);
        prop_assert_eq!(turns(&others, last.as_deref(), slots, max_active), wanted);
    }
}
