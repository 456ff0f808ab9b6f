//! The requested exports: all different, some small, some large.

use serde_json::{Value, json};

use crate::fleet::Fleet;

/// Prime, so that the ranges' starts cover all the data before one repeats.
const STRIDE: usize = 7_919;
/// Parameters of every third small request; the others request all parameters.
const FEW_PARAMETERS: [&str; 2] = ["soc", "odo"];

/// Vehicles and length of an export.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    vehicles: usize,
    hours: usize,
}

/// A small export: one vehicle's shift.
pub(crate) const SMALL: Size = Size { vehicles: 1, hours: 8 };
const MIDDLE: Size = Size { vehicles: 2, hours: 18 };
/// A large export, which keeps a worker busy until it is killed.
pub(crate) const LARGE: Size = Size { vehicles: 3, hours: 48 };

/// Days of data that a fleet needs for these requests.
pub(crate) const LEAST_DAYS: u32 = 3;
/// The same in vehicles.
pub(crate) const LEAST_VEHICLES: usize = 3;

/// Half of them small, a seventh large: 1.6 days of a vehicle on average, half a million points.
fn mixed_size(number: usize) -> Size {
    match number % 20 {
        0..10 => SMALL,
        10..17 => MIDDLE,
        _ => LARGE,
    }
}

/// The requests of one tenant (`tenant` of `tenants`), small ones among large ones.
pub(crate) fn mixed(fleet: &Fleet, tenant: usize, tenants: usize, count: usize) -> Vec<Value> {
    // 7 and 20 are coprime: all sizes occur, and not in blocks.
    (0..count).map(|number| one(fleet, mixed_size(number * 7), number * tenants + tenant)).collect()
}

/// `count` requests of one size.
pub(crate) fn of_size(fleet: &Fleet, size: Size, tenant: usize, tenants: usize, count: usize) -> Vec<Value> {
    (0..count).map(|number| one(fleet, size, number * tenants + tenant)).collect()
}

/// The request with this number; ranges of the same size differ while there are fewer of them than
/// minutes of data.
pub(crate) fn one(fleet: &Fleet, size: Size, number: usize) -> Value {
    let starts = fleet.minutes() - size.hours * 60;
    let start = number * STRIDE % starts;
    let vehicles: Vec<&String> =
        (0..size.vehicles).map(|next| &fleet.vehicles[(number + next) % fleet.vehicles.len()]).collect();
    let mut body = json!({
        "startDate": fleet.time(start),
        "endDate": fleet.time(start + size.hours * 60),
        "vehicles": vehicles,
    });
    if size.vehicles == SMALL.vehicles && number.is_multiple_of(3) {
        body["parameters"] = json!(FEW_PARAMETERS);
    }
    body
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_requests_are_the_same_and_all_are_about_the_data() {
        let vehicles = (0..10).map(|number| format!("vehicle_{number}")).collect();
        let fleet = Fleet { vehicles, first_ms: 1_543_536_000_000, hours: 96, documents: Vec::new() };
        let bodies: Vec<Value> = (0..5).flat_map(|tenant| mixed(&fleet, tenant, 5, 100)).collect();
        let texts: BTreeSet<String> = bodies.iter().map(Value::to_string).collect();
        assert_eq!(texts.len(), 500);
        for body in &bodies {
            let (from, to) = (body["startDate"].as_str().unwrap(), body["endDate"].as_str().unwrap());
            assert!(("2018-11-30T00:00:00Z".."2018-12-04T00:00:00Z").contains(&from), "{body}");
            assert!(from < to && to <= "2018-12-04T00:00:00Z", "{body}");
        }
        let count = |wanted: usize| {
            let has_so_many = |body: &&Value| body["vehicles"].as_array().unwrap().len() == wanted;
            bodies.iter().filter(has_so_many).count()
        };
        assert_eq!([count(1), count(2), count(3)], [250, 175, 75]);
    }
}
