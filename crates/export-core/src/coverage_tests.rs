use serde_json::json;

use super::*;

#[test]
fn percentages_are_rounded_down() {
    let text = |part, whole| Percent::of(part, whole).to_string();
    assert_eq!([text(0, 24), text(1, 3), text(14, 24), text(24, 24)], ["0.0", "33.3", "58.3", "100.0"]);
    assert_eq!(text(u64::MAX - 1, u64::MAX), "99.9", "not all");
    assert_eq!(text(0, 0), "0.0");
    assert_eq!(Percent::of(1, 1), Percent::ALL);
    for permille in 0..=1_000 {
        let percent = Percent { permille };
        let json = serde_json::to_string(&percent).expect("JSON");
        assert_eq!(json, percent.to_string());
        assert_eq!(serde_json::from_str::<Percent>(&json).expect("a percentage"), percent);
    }
    assert_eq!(serde_json::from_str::<Percent>("100").expect("a percentage"), Percent::ALL);
    assert!(serde_json::from_str::<Percent>("100.1").is_err());
}

#[test]
fn an_hour_that_the_range_cuts_counts() {
    let hours = |from_ms, to_ms| hours_of(TimeRange::new(from_ms, to_ms).expect("a range"));
    assert_eq!(hours(0, 24 * HOUR_MS), 24);
    assert_eq!(hours(0, 1), 1);
    assert_eq!(hours(HOUR_MS - 1, HOUR_MS + 1), 2);
    assert_eq!(hours(-1, 1), 2, "before 1970, too");
    assert_eq!(hours(-HOUR_MS, 0), 1);
    assert_eq!(hours(TimeRange::MIN_MS, TimeRange::MAX_MS), 87_649_416);
}

#[test]
fn the_number_of_gaps_is_bounded_in_large_exports() {
    assert_eq!([max_gaps(0, 0), max_gaps(1, 5), max_gaps(800, 5)], [20, 20, 20]);
    assert_eq!([max_gaps(1_000, 5), max_gaps(1_000, 500), max_gaps(usize::MAX, usize::MAX)], [16, 1, 1]);
}

#[test]
fn a_gap_is_read_as_it_is_written() {
    let gap = Gap { from_ms: -1, to_ms: HOUR_MS + 1, hours: 2 };
    let json = serde_json::to_value(gap).expect("JSON");
    assert_eq!(
        json,
        json!({ "from": "1969-12-31T23:59:59.999Z", "to": "1970-01-01T01:00:00.001Z", "hours": 2 })
    );
    assert_eq!(serde_json::from_value::<Gap>(json).expect("a gap"), gap);
}
