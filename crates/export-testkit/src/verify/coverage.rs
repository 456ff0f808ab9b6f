//! The coverage in the manifest, by the names that users see.

use serde_json::{Map, Value, json};

use crate::reference::{ReferenceCoverage, ReferenceVehicle};

/// The coverage of a vehicle and of its parameters.
pub(super) fn of_vehicle(vehicle: &ReferenceVehicle) -> Value {
    let mut fields = fields(&vehicle.coverage);
    let parameters = &vehicle.parameter_coverage;
    let parameters: Map<String, Value> =
        parameters.iter().map(|(name, coverage)| (name.clone(), self::fields(coverage))).collect();
    fields["parameters"] = parameters.into();
    fields
}

/// The sums over all vehicles.
pub(super) fn of_all(vehicles: &[ReferenceVehicle]) -> Value {
    let sum = |count: fn(&ReferenceCoverage) -> u64| {
        vehicles.iter().map(|vehicle| count(&vehicle.coverage)).sum::<u64>()
    };
    let (asked, with_data) = (sum(|coverage| coverage.hours_asked), sum(|coverage| coverage.hours_with_data));
    let permille = (with_data * 1_000).checked_div(asked).unwrap_or(0);
    json!({ "hoursAsked": asked, "hoursWithData": with_data, "percent": percent(permille) })
}

fn fields(coverage: &ReferenceCoverage) -> Value {
    let gaps = coverage.gaps.iter().map(|gap| json!({ "from": gap.from, "to": gap.to, "hours": gap.hours }));
    let mut fields = json!({
        "hoursAsked": coverage.hours_asked,
        "hoursWithData": coverage.hours_with_data,
        "percent": percent(coverage.permille),
        "firstTime": coverage.first_time_ms,
        "lastTime": coverage.last_time_ms,
        "gaps": gaps.collect::<Vec<_>>(),
    });
    for (name, count) in [
        ("gapsMore", coverage.gaps_more),
        ("filled", coverage.filled),
        ("filledHours", coverage.filled_hours),
    ] {
        if count > 0 {
            fields[name] = json!(count);
        }
    }
    fields
}

/// 93.7 for 937.
fn percent(permille: u64) -> Value {
    let text = format!("{}.{}", permille / 10, permille % 10);
    serde_json::from_str(&text).expect("a number")
}
