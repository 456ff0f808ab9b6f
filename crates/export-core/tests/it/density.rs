//! Estimates of vehicles whose data is regular, and of vehicles whose data is not: the bounds hold
//! the rows that come, or the vehicle stays unmeasured.

use std::collections::BTreeMap;

use export_core::TimeRange;
use export_core::density::{DocumentCount, SampledSizes, VehicleDensity, sampled_hours};
use export_core::estimate::{Coverage, MeasuredAmount, Span, VehicleAmount, estimate};
use export_core::output::OutputOptions;
use export_core::range::HOUR_MS;

const START_MS: i64 = 1_543_536_000_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const BYTES_PER_POINT: u64 = 14;

/// The points of each document of the only parameter, by `_id`.
type Documents = BTreeMap<i64, u64>;

/// Documents every `step_ms` from the start, with this number of points by the time in hours.
fn documents(days: i64, step_ms: i64, points: impl Fn(i64) -> u64) -> Documents {
    let all = (0..days * DAY_MS / step_ms).map(|index| index * step_ms);
    all.map(|ms| (START_MS + ms, points(ms / HOUR_MS))).filter(|(_, points)| *points > 0).collect()
}

fn ends(documents: &Documents) -> (i64, i64) {
    (*documents.keys().next().expect("data"), *documents.keys().next_back().expect("data"))
}

/// What the catalog learns from these documents.
fn learned(documents: &Documents) -> Option<VehicleDensity> {
    let (first_ms, last_ms) = ends(documents);
    let hours = sampled_hours(first_ms, last_ms);
    let parameter = || "soc".parse().expect("a parameter");
    let bytes = |hour: &i64| documents.get(hour).map_or(0, |points| points * BYTES_PER_POINT);
    let sizes = SampledSizes([(parameter(), hours.iter().map(|hour| (*hour, bytes(hour))).collect())].into());
    let typical_ms = sizes.typical_hour(4 << 20)?;
    let hour_count = u64::try_from((last_ms - first_ms) / HOUR_MS + 1).expect("a count");
    let count = DocumentCount { documents: documents.len() as u64, hours: hour_count };
    let points = documents.get(&typical_ms).copied().unwrap_or(0);
    let times = (0..points).map(|index| i64::try_from(index).expect("a time")).collect();
    let (counts, times) = ([(parameter(), count)].into(), [(parameter(), times)].into());
    VehicleDensity::learn(&hours, &sizes, &counts, typical_ms, &times)
}

/// The estimated rows of a range, and the rows that the data has there.
fn rows(documents: &Documents, density: &VehicleDensity, from_ms: i64, to_ms: i64) -> (Span, u64) {
    let range = TimeRange::new(from_ms, to_ms).expect("a range");
    let (first_ms, last_ms) = ends(documents);
    let spans = [("soc".parse().expect("a parameter"), first_ms, last_ms + HOUR_MS)];
    let expected = VehicleAmount::expected(Some(density), &spans, range, &OutputOptions::default());
    let mut amount = MeasuredAmount::default();
    amount.add(&expected);
    let coverage =
        Coverage { vehicles: 1, parameter_hours: expected.all_parameter_hours, ..Coverage::default() };
    let found = estimate(&coverage, &amount, range, &OutputOptions::default(), &[]);
    (found.rows, documents.range(from_ms..to_ms).map(|(_, points)| points).sum())
}

/// Ranges of a day, of a few days, and of all days.
fn ranges(days: i64) -> impl Iterator<Item = (i64, i64)> {
    [1, 2, 5, 14, days].into_iter().flat_map(move |length| {
        let starts = (0..=days - length).step_by(usize::try_from(length.max(1)).expect("a length"));
        starts.map(move |start| (START_MS + start * DAY_MS, START_MS + (start + length) * DAY_MS))
    })
}

/// Fails unless the bounds hold the rows of every range.
fn check(name: &str, documents: &Documents, days: i64, is_regular: bool) {
    let density = learned(documents);
    assert!(density.is_some() || !is_regular, "{name} is unmeasured");
    let Some(density) = density else { return };
    for (from_ms, to_ms) in ranges(days) {
        let (found, rows) = rows(documents, &density, from_ms, to_ms);
        let at = (from_ms - START_MS) / DAY_MS..(to_ms - START_MS) / DAY_MS;
        assert!(
            (found.low..=found.high).contains(&rows),
            "{name}, {at:?}: {rows} rows, {found:?}\n{density:?}"
        );
        if is_regular || at == (0..days) {
            let is_near = found.low * 4 >= rows * 3 && found.high * 4 <= rows * 5;
            assert!(is_near, "{name}, {at:?}: {rows} rows, {found:?}\n{density:?}");
        }
    }
}

/// 0 to 1, different for each hour.
fn noise(hour: i64) -> f64 {
    let mixed = (hour + 7).wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
    f64::from(u16::try_from(mixed.rotate_left(17).rem_euclid(65_536)).expect("16 bits")) / 65_536.0
}

#[test]
fn a13_regular_data_is_estimated_within_a_quarter() {
    check("constant", &documents(60, HOUR_MS, |_| 200), 60, true);
    check("two days", &documents(2, HOUR_MS, |_| 200), 2, true);
    check("half hours", &documents(60, HOUR_MS / 2, |_| 100), 60, true);
    check("days only", &documents(60, HOUR_MS, |hour| if hour % 24 < 8 { 0 } else { 300 }), 60, true);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred")]
    check("noisy", &documents(60, HOUR_MS, |hour| 250 + (noise(hour) * 80.0) as u64), 60, true);
}

#[test]
fn a13_irregular_data_has_bounds_that_hold() {
    let count = |points: i64| u64::try_from(points).expect("a count");
    let is_weekend = |hour: i64| (hour / 24) % 7 >= 5;
    for days in [28, 56, 180, 400] {
        let name = |what: &str| format!("{what}, {days} days");
        let weekends = documents(days, HOUR_MS, |hour| if is_weekend(hour) { 0 } else { 200 });
        check(&name("weekends"), &weekends, days, false);
        let growth = documents(days, HOUR_MS, |hour| count(20 + hour / 3));
        check(&name("growth"), &growth, days, false);
        for (from, to) in [(10, 30), (40, 55), (70, 95)] {
            let gap = (days * from / 100)..(days * to / 100);
            let gap = documents(days, HOUR_MS, |hour| if gap.contains(&(hour / 24)) { 0 } else { 300 });
            check(&name(&format!("gap from {from} %")), &gap, days, false);
        }
    }
}

#[test]
fn a13_a_document_of_another_century_leaves_the_vehicle_unmeasured() {
    for stray_ms in [0, START_MS + 20 * 366 * DAY_MS, 5] {
        for days in [4, 60, 1_500] {
            let mut documents = documents(days, HOUR_MS, |_| 400);
            documents.insert(stray_ms, 400);
            assert_eq!(learned(&documents), None, "{stray_ms}, {days} days");
        }
    }
}
